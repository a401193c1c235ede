//! A regular expression over names, and below which names the names are that it can match.

use hickory_proto::rr::Name;
use regex::Regex;
use regex_syntax::{
    Parser,
    hir::{
        Look,
        literal::{ExtractKind, Extractor},
    },
};

use super::add_subtree;

/// It matches where it finds something.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    subtrees: Vec<Name>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Pattern {
    /// `None`: it is no expression, or too large.
    pub fn new(expression: &str) -> Option<Self> {
        let regex = Regex::new(expression).ok()?;
        let ends = ends(expression).unwrap_or_else(|| vec![Vec::new()]);
        let mut subtrees = Vec::new();
        for end in ends {
            add_subtree(&mut subtrees, subtree(&end).unwrap_or_else(Name::root));
        }
        Some(Pattern { regex, subtrees })
    }

    /// Whether it matches a name in lower case.
    pub fn matches(&self, name: &Name) -> bool {
        // Not `to_string`, which decodes IDNA: expressions are about what is asked.
        self.regex.is_match(&name.to_ascii())
    }

    /// Whatever it matches lies at or below one of these.
    pub fn subtrees(&self) -> &[Name] {
        &self.subtrees
    }
}

/// All ends of the texts that it matches, if it says how they end.
fn ends(expression: &str) -> Option<Vec<Vec<u8>>> {
    let hir = Parser::new().parse(expression).ok()?;
    if !hir.properties().look_set_suffix().contains(Look::End) {
        return None;
    }
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Suffix);
    let ends = extractor.extract(&hir);
    let ends = ends.literals()?.iter();
    Some(ends.map(|end| end.as_bytes().to_vec()).collect())
}

/// The name that a text ends with whatever stands before it: from its first dot on. A dot at its beginning does not
/// count: it may be one within a label, whose backslash stands before it.
fn subtree(end: &[u8]) -> Option<Name> {
    let end = std::str::from_utf8(end).ok()?;
    let (_, name) = end
        .strip_suffix('.')?
        .trim_start_matches('.')
        .split_once('.')?;
    let mut name = Name::from_ascii(name).ok()?.to_lowercase();
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtrees(expression: &str) -> Vec<String> {
        let pattern = Pattern::new(expression).expect("an expression");
        pattern.subtrees().iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn an_expression_that_says_how_it_ends_says_where_it_matches() {
        for (expression, expected) in [
            (
                r"^(?:[^.]+\.){4,}internal\.cloudapp\.net\.$",
                &["cloudapp.net."][..],
            ),
            (r"(.*)\.foo\.cluster\.local\.$", &["cluster.local."]),
            (r"[^.]foo\.cluster\.local\.$", &["cluster.local."]),
            (r"^a\.(b|c)\.example\.$", &["b.example.", "c.example."]),
            (r"x\.a\.example\.\z", &["a.example."]),
            // Whatever follows.
            (r"foo\.cluster\.local\.", &["."]),
            (r"^foo\.cluster\.local", &["."]),
            (r"foo\.(example\.$|b)", &["."]),
            // No dot, or one that stands for any letter.
            (r"local\.$", &["."]),
            (r"foo.cluster.local.$", &["."]),
            (r"(?i)[^.]Foo\.Local\.$", &["local."]),
            (r"(?m)\.foo\.local\.$", &["."]),
            ("", &["."]),
        ] {
            assert_eq!(subtrees(expression), expected, "{expression}");
        }
        assert_eq!(Pattern::new("("), None);
    }
}
