//! From text to words.
//!
//! ```text
//! forward . "/etc/resolv.conf" {   # a comment ends the line
//! ───┬─── ┬ ────────┬───────── ┬
//!  word  word  word, quoted   word
//! ```
//!
//! Words are separated by white space. A word that begins with `"` goes to the next `"`, over lines if
//! need be; `\"` in it is a quote, and no other character is escaped. `#` begins a comment wherever it stands
//! outside quotes, in the middle of a word too. A carriage return is nothing, and neither is a
//! byte order mark at the beginning.

use super::{error::Fault, source::Span};

/// A word, where it stands, and whether it is the first of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Without quotes; environment variables are replaced by the parser.
    pub text: String,
    /// Where, quotes included.
    pub span: Span,
    /// Whether a line begins with it.
    pub begins_line: bool,
    /// Whether it stands in quotes. A quoted brace opens and closes blocks all the same, as
    /// in `CoreDNS`.
    pub quoted: bool,
}

#[cfg(test)]
impl Word {
    /// The only word of a text.
    pub(crate) fn of(text: &str) -> Self {
        let span = Span {
            file: 0,
            start: 0,
            end: text.len(),
        };
        Word {
            text: text.to_owned(),
            span,
            begins_line: true,
            quoted: false,
        }
    }
}

/// The words of a file.
///
/// # Errors
///
/// A quote that is never closed.
pub fn words(file: usize, text: &str) -> Result<Vec<Word>, Fault> {
    let mut words = Vec::new();
    let mut begins_line = true;
    let mut characters = text
        .char_indices()
        .skip_while(|(at, character)| *at == 0 && *character == '\u{feff}')
        .peekable();
    while let Some((start, first)) = characters.next() {
        if first == '\n' {
            begins_line = true;
            continue;
        }
        if first.is_whitespace() {
            continue;
        }
        if first == '#' {
            while characters.next_if(|(_, next)| *next != '\n').is_some() {}
            continue;
        }
        let quoted = first == '"';
        let mut word = String::new();
        let end = if quoted {
            quote(&mut characters, &mut word).ok_or_else(|| unclosed(file, start, text.len()))?
        } else {
            word.push(first);
            let ends = |next: char| (next.is_whitespace() && next != '\r') || next == '#';
            while let Some((_, next)) = characters.next_if(|(_, next)| !ends(*next)) {
                if next != '\r' {
                    word.push(next);
                }
            }
            characters.peek().map_or(text.len(), |(end, _)| *end)
        };
        words.push(Word {
            text: word,
            span: Span { file, start, end },
            begins_line,
            quoted,
        });
        begins_line = false;
    }
    Ok(words)
}

/// The rest of a quoted word and the byte after its closing quote.
fn quote(characters: &mut impl Iterator<Item = (usize, char)>, word: &mut String) -> Option<usize> {
    let mut escaped = false;
    for (at, next) in characters {
        match next {
            '"' if !escaped => return Some(at + 1),
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '"' => {}
            _ if escaped => word.push('\\'),
            _ => {}
        }
        word.push(next);
        escaped = false;
    }
    None
}

fn unclosed(file: usize, start: usize, end: usize) -> Fault {
    let span = Span {
        file,
        start,
        end: (start + 1).min(end),
    };
    Fault::new(span, "this quote is never closed", "a closing `\"`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(String, bool)> {
        let words = words(0, text).unwrap();
        words
            .into_iter()
            .map(|word| (word.text, word.begins_line))
            .collect()
    }

    #[test]
    fn words_are_as_coredns_reads_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("a b\nc", &[("a", true), ("b", false), ("c", true)]),
            ("a\r\nb\r\n", &[("a", true), ("b", true)]),
            ("\u{feff}a", &[("a", true)]),
            (
                "a # b\n#c\nd#e f\ng",
                &[("a", true), ("d", true), ("g", true)],
            ),
            (r#"a "b c" d"#, &[("a", true), ("b c", false), ("d", false)]),
            (
                r#""a \"b\" \n \\" c"#,
                &[(r#"a "b" \n \\"#, true), ("c", false)],
            ),
            (
                "\"a\nb\" c\nd",
                &[("a\nb", true), ("c", false), ("d", true)],
            ),
            (r#"a"b c"#, &[(r#"a"b"#, true), ("c", false)]),
            (r#"a "" b"#, &[("a", true), ("", false), ("b", false)]),
            ("\"# no comment\"", &[("# no comment", true)]),
        ] {
            let expected: Vec<_> = (expected.iter())
                .map(|(word, begins)| ((*word).to_owned(), *begins))
                .collect();
            assert_eq!(texts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_place_is_that_of_the_word() {
        let words = words(0, "ä \"b c\"\td").unwrap();
        let places: Vec<_> = words.iter().map(|word| word.span.range()).collect();
        assert_eq!(places, [0..2, 3..8, 9..10]);
    }

    #[test]
    fn an_open_quote_is_an_error_at_its_place() {
        let fault = words(0, "a\n  \"b c\n}").unwrap_err();
        assert_eq!(fault.span.range(), 4..5);
    }
}
