//! What came of a check.

use serde::Serialize;
use serde_json::{Value, json};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could; or it may be meant so.
    Warning,
    /// Something does not work.
    Failure,
    /// It could not be looked at, and the sentence says why.
    Skipped,
}

/// What came of a check, for people and for programs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub status: Status,
    /// What is so.
    pub summary: String,
    /// What that means for who asks a name; of warnings and failures, as the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// How to see it without hopzero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub see: Option<String>,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Figures and names; an object.
    pub facts: Value,
}

/// What is wrong always comes with these three.
pub(super) struct Hints<'a> {
    pub meaning: &'a str,
    pub see: &'a str,
    pub fix: &'a str,
}

impl Outcome {
    pub fn ok(summary: impl Into<String>) -> Self {
        Self::without_hints(Status::Ok, summary.into())
    }

    pub fn skipped(why: impl Into<String>) -> Self {
        Self::without_hints(Status::Skipped, why.into())
    }

    pub fn warning(summary: impl Into<String>, hints: &Hints<'_>) -> Self {
        Self::with_hints(Status::Warning, summary.into(), hints)
    }

    pub fn failure(summary: impl Into<String>, hints: &Hints<'_>) -> Self {
        Self::with_hints(Status::Failure, summary.into(), hints)
    }

    /// The same with what it is about, an object.
    #[must_use]
    pub fn facts(mut self, facts: Value) -> Self {
        self.facts = facts;
        self
    }

    fn without_hints(status: Status, summary: String) -> Self {
        Outcome {
            status,
            summary,
            meaning: None,
            see: None,
            fix: None,
            facts: json!({}),
        }
    }

    fn with_hints(status: Status, summary: String, hints: &Hints<'_>) -> Self {
        Outcome {
            meaning: Some(hints.meaning.to_owned()),
            see: Some(hints.see.to_owned()),
            fix: Some(hints.fix.to_owned()),
            ..Self::without_hints(status, summary)
        }
    }
}
