//! Whether a configuration is still the same.

use std::fmt::Write as _;

use ring::digest::{Context, SHA512};

use super::{Corefile, Directive, Word};

impl Corefile {
    /// SHA-512 of its words, imports and variables put in, in hexadecimal. Comments and spaces do not count.
    pub fn sha512(&self) -> String {
        let mut context = Context::new(&SHA512);
        for block in &self.blocks {
            add_words(&mut context, &block.keys);
            add_directives(&mut context, &block.directives);
        }
        let mut text = String::new();
        for byte in context.finish().as_ref() {
            // A string has room for everything.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Lengths go in, too, so that words cannot be taken for others.
fn add_words(context: &mut Context, words: &[Word]) {
    context.update(&words.len().to_be_bytes());
    for word in words {
        context.update(&word.text.len().to_be_bytes());
        context.update(word.text.as_bytes());
    }
}

fn add_directives(context: &mut Context, directives: &[Directive]) {
    context.update(&directives.len().to_be_bytes());
    for directive in directives {
        add_words(context, std::slice::from_ref(&directive.name));
        add_words(context, &directive.args);
        add_directives(context, directive.properties());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Corefile;

    #[test]
    fn what_counts_is_what_is_meant() {
        let digest = |text: &str| {
            let corefile = Corefile::parse(Path::new("Corefile"), text.to_owned(), &|_| None);
            corefile.unwrap().sha512()
        };
        let one = digest(".:53 {\n  log . {\n class error\n }\n}\n");
        assert_eq!(one.len(), 128);
        assert_eq!(
            one,
            digest("# a comment\n(s) {\nclass error\n}\n.:53 {\nlog . {\nimport s\n}\n}\n")
        );
        for other in [
            ".:54 {\nlog . {\nclass error\n}\n}\n",
            ".:53 {\nlog . {\nclass errors\n}\n}\n",
            ".:53 {\nlog . {\nclass\n error\n}\n}\n",
            ".:53 {\nlog .\n}\n",
        ] {
            assert_ne!(one, digest(other), "{other}");
        }
    }
}
