//! A Corefile as it was understood: a line for each server block, with its keys in full, and for each directive, words
//! between bars, a block deeper by two.

use std::fmt::Write as _;

use hopzero::corefile::{Corefile, CorefileError, Directive, Key};

const PORT: u16 = 53;

/// # Errors
///
/// A key that is none.
pub fn outline(corefile: &Corefile) -> Result<String, CorefileError> {
    let mut out = String::new();
    for block in &corefile.blocks {
        let mut keys = Vec::new();
        for word in &block.keys {
            let named = Key::parse(word, PORT).map_err(|fault| fault.within(&corefile.sources))?;
            keys.extend(named.iter().map(|key| {
                let Key {
                    zone,
                    port,
                    transport,
                } = key;
                format!("{}://{zone}:{port}", transport.scheme())
            }));
        }
        writeln!(out, "{}", keys.join(" ")).unwrap();
        for line in &block.directives {
            directive(&mut out, line, 2);
        }
    }
    Ok(out)
}

fn directive(out: &mut String, line: &Directive, depth: usize) {
    let words = std::iter::once(&line.name).chain(&line.args);
    let words: Vec<&str> = words.map(|word| word.text.as_str()).collect();
    writeln!(out, "{:depth$}{}", "", words.join("|")).unwrap();
    for property in line.properties() {
        directive(out, property, depth + 2);
    }
}
