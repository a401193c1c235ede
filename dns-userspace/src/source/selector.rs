//! Label selectors, as `kubectl --selector` takes them.
//!
//! ```text
//! app=web                     the label is there with this value (`==` is the same)
//! app!=web                    it has another value, or is not there
//! tier in (front, back)       it has one of these values
//! tier notin (front, back)    it has none of them, or is not there
//! tier   !tier                it is there, or not
//! ```
//!
//! An object has to meet all requirements, which commas separate.

use std::{collections::BTreeMap, str::FromStr};

/// What labels an object has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels.and_then(|labels| labels.get(key));
            match test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        requirements(text)
            .into_iter()
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Selector)
    }
}

/// The parts between commas, but for commas within parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let of = |key: &str, test: Test| {
        let key = key.trim();
        if is_key(key) {
            let key = key.to_owned();
            Ok(Requirement { key, test })
        } else {
            Err(format!("`{key}` is not the key of a label"))
        }
    };
    if let Some((before, list)) = text.split_once('(') {
        let list = list.strip_suffix(')');
        let list = list.ok_or_else(|| format!("`{text}` has no `)` at its end"))?;
        let values = list.split(',').map(value).collect::<Result<_, _>>()?;
        return match before.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => of(key, Test::In(values)),
            [key, "notin"] => of(key, Test::NotIn(values)),
            _ => Err(format!("`{before}` is not a key with `in` or `notin`")),
        };
    }
    if let Some((key, other)) = text.split_once("!=") {
        return of(key, Test::NotIn(vec![value(other)?]));
    }
    if let Some((key, is)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return of(key, Test::In(vec![value(is)?]));
    }
    match text.strip_prefix('!') {
        Some(key) => of(key, Test::Absent),
        None => of(text, Test::Exists),
    }
}

fn value(text: &str) -> Result<String, String> {
    let value = text.trim();
    if value.is_empty() || is_name(value) {
        Ok(value.to_owned())
    } else {
        Err(format!("`{value}` is not the value of a label"))
    }
}

/// A name, or `example.org/name`.
fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    is_name(name) && prefix.is_none_or(is_name)
}

fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().all(is_inner)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_selected() {
        let labels = [("app", "web"), ("tier", "front"), ("example.org/x", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = BTreeMap::from(labels);
        for (text, expected) in [
            ("app=web", true),
            ("app == web", true),
            ("app=other", false),
            ("app!=web", false),
            ("none!=web", true),
            ("tier in (front, back),app=web", true),
            ("tier in(back)", false),
            ("tier notin (back)", true),
            ("none notin (back)", true),
            ("tier notin (front,back)", false),
            ("app", true),
            ("none", false),
            ("!none", true),
            ("!app", false),
            ("example.org/x=", true),
            ("app=web,tier=back", false),
        ] {
            let selector: Selector = text.parse().expect(text);
            assert_eq!(selector.matches(Some(&labels)), expected, "{text}");
        }
        let absent: Selector = "!app".parse().expect("a selector");
        assert!(absent.matches(None));
    }

    #[test]
    fn what_is_no_selector_is_said() {
        for (text, message) in [
            ("", "`` is not the key"),
            ("app=a b", "`a b` is not the value"),
            ("app in (a", "no `)`"),
            ("app of (a)", "`in` or `notin`"),
            ("a b", "`a b` is not the key"),
            ("app=web,", "`` is not the key"),
            ("app>1", "`app>1` is not the key"),
        ] {
            let told = text.parse::<Selector>().expect_err(text);
            assert!(told.contains(message), "{text}: {told}");
        }
    }
}
