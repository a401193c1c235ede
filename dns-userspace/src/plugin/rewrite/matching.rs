//! Which names a rule is about, and what becomes of them.

use hickory_proto::rr::Name;
use regex::Regex;

use crate::{
    corefile::{Fault, Word},
    plugin::{Touch, text},
};

/// `[MATCH] FROM`
pub(super) enum Match {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Substring(String),
    Regex(Regex),
}

/// The words for it.
const KINDS: &str = "exact, prefix, suffix, substring or regex";

impl Match {
    /// Reads it; `normal` has the dot at the end.
    pub(super) fn read(kind: &Word, from: &Word) -> Result<Self, Fault> {
        Self::with(kind, from, normal(&from.text))
    }

    /// The same for `cname`, where only whole names have the dot by themselves.
    pub(super) fn of_target(kind: &Word, from: &Word) -> Result<Self, Fault> {
        match Self::with(kind, from, from.text.to_ascii_lowercase())? {
            Match::Exact(from) => Ok(Match::Exact(normal(&from))),
            other => Ok(other),
        }
    }

    fn with(kind: &Word, from: &Word, text: String) -> Result<Self, Fault> {
        Ok(match kind.text.to_ascii_lowercase().as_str() {
            "exact" => Match::Exact(text),
            "prefix" => Match::Prefix(text),
            "suffix" => Match::Suffix(text),
            "substring" => Match::Substring(text),
            "regex" => Match::Regex(from.regex()?),
            _ => return Err(kind.not(KINDS)),
        })
    }

    /// A name as it stands there.
    pub(super) fn exact(from: &Word) -> Self {
        Match::Exact(normal(&from.text))
    }

    /// Whether a name is one of them.
    pub(super) fn is(&self, name: &str) -> bool {
        match self {
            Match::Exact(from) => name == from,
            Match::Prefix(from) => name.starts_with(from),
            Match::Suffix(from) => name.ends_with(from),
            Match::Substring(from) => name.contains(from),
            Match::Regex(regex) => regex.is_match(name),
        }
    }

    /// What becomes of the name, if it is one of them.
    pub(super) fn replace(&self, name: &str, to: &str) -> Option<String> {
        match self {
            Match::Exact(from) => (name == from).then(|| to.to_owned()),
            Match::Prefix(from) => Some(format!("{to}{}", name.strip_prefix(from)?)),
            Match::Suffix(from) => Some(format!("{}{to}", name.strip_suffix(from)?)),
            Match::Substring(from) => name.contains(from).then(|| name.replace(from, to)),
            Match::Regex(regex) => expand(regex, name, to),
        }
    }

    /// Which names these may be.
    pub(super) fn touches(&self) -> Option<Touch> {
        let escaped = |from: &str| regex::escape(from);
        Some(match self {
            // What is no name is never asked.
            Match::Exact(from) => Touch::Name(text::name(from)?),
            Match::Suffix(from) if from == "." => Touch::Everything,
            Match::Suffix(from) => match from.strip_prefix('.') {
                Some(zone) => Touch::Below(text::name(zone)?),
                // It may begin within a label.
                None => Touch::Matching(format!("{}$", escaped(from))),
            },
            Match::Prefix(from) => Touch::Matching(format!("^{}", escaped(from))),
            Match::Substring(from) => Touch::Matching(escaped(from)),
            Match::Regex(regex) => Touch::Matching(regex.as_str().to_owned()),
        })
    }
}

/// Lower case, with the dot at the end.
pub(super) fn normal(text: &str) -> String {
    let mut text = text.to_ascii_lowercase();
    if !text.ends_with('.') || text.ends_with("\\.") {
        text.push('.');
    }
    text
}

/// `to` with what the groups of the expression matched in place of `{1}`, and all of the match in place of `{0}`.
pub(super) fn expand(regex: &Regex, name: &str, to: &str) -> Option<String> {
    let groups = regex.captures(name)?;
    let mut expanded = to.to_owned();
    for (number, group) in groups.iter().enumerate() {
        let group = group.map_or("", |group| group.as_str());
        expanded = expanded.replace(&format!("{{{number}}}"), group);
    }
    Some(expanded)
}

/// TO, which has no more groups than the expression.
pub(super) fn replacement(regex: &Regex, to: &Word) -> Result<String, Fault> {
    let used = (0..=100).filter(|number| to.text.contains(&format!("{{{number}}}")));
    if used.count() >= regex.captures_len() {
        let expected = format!("no more groups than `{}` has", regex.as_str());
        return Err(to.not(&expected));
    }
    Ok(normal(&to.text))
}

/// The name that a text is, if it is one.
pub(super) fn name(text: &str) -> Option<Name> {
    text::name(text)
}
