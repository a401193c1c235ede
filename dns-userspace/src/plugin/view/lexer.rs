//! From the text of an expression to its words.

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Text(String),
    Number(i64),
    /// A name, or an operator of letters.
    Word(String),
    /// An operator of signs, or a bracket.
    Sign(&'static str),
}

/// Words of one expression: each may be an expression within the one before.
const TOKENS_MAX: usize = 500;

/// The longer ones first.
const SIGNS: [&str; 22] = [
    "==", "!=", "<=", ">=", "&&", "||", "..", "(", ")", "[", "]", ",", "<", ">", "!", "?", ":",
    "+", "-", "*", "/", "%",
];

/// The words of an expression.
///
/// # Errors
///
/// A character that begins none, text that does not end, a number that is too large, too many words.
pub fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token;
        (token, rest) = if matches!(first, '\'' | '"' | '`') {
            quoted(rest, first)?
        } else if first.is_ascii_digit() {
            let (digits, rest) = while_is(rest, |next| next.is_ascii_digit());
            let number = digits.parse();
            let number = number.map_err(|_| format!("`{digits}` is too large a number"))?;
            (Token::Number(number), rest)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let (word, rest) = while_is(rest, |next| next.is_ascii_alphanumeric() || next == '_');
            (Token::Word(word.to_owned()), rest)
        } else {
            let found = SIGNS
                .iter()
                .find_map(|sign| Some((*sign, rest.strip_prefix(sign)?)));
            let (sign, rest) = found.ok_or_else(|| format!("`{first}` in an expression"))?;
            (Token::Sign(sign), rest)
        };
        tokens.push(token);
        if tokens.len() > TOKENS_MAX {
            return Err(format!("an expression of more than {TOKENS_MAX} words"));
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn while_is(text: &str, is: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|next| !is(next)).unwrap_or(text.len()))
}

/// Within `'` and `"` a backslash escapes; within a backtick it does not.
fn quoted(text: &str, quote: char) -> Result<(Token, &str), String> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, next)) = characters.next() {
        match next {
            _ if next == quote => return Ok((Token::Text(out), &text[at + 1..])),
            '\\' if quote != '`' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(same @ ('\\' | '\'' | '"')) => out.push(same),
                Some(other) => {
                    return Err(format!(
                        "`\\{other}` is not an escape; a backslash is `\\\\`"
                    ));
                }
                None => break,
            },
            _ => out.push(next),
        }
    }
    Err(format!("this {quote} is never closed: {text}"))
}
