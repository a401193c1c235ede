//! What can go wrong between us and the API server, sorted by what there is to do about it.

use std::{error::Error, fmt};

/// Why a list or a watch did not go on. Whatever it is, the last known data stays.
#[derive(Debug)]
pub enum Trouble {
    /// The API server does not remember our version (410): everything is listed again.
    Gone,
    /// It is behind what it, or another one, has told us.
    Behind(String),
    /// 401: credentials are read again.
    Unauthorised(String),
    /// 403
    Forbidden(String),
    /// It does not know this sort of request.
    Unsupported(String),
    /// It does not know the path (404).
    Unknown(String),
    /// It does not know the kind: its `CustomResourceDefinition` is not there (404).
    NotInstalled(String),
    /// It asks to be left alone (429), or has trouble of its own (5xx).
    Failing(String),
    /// Nothing comes, no end either.
    Silent,
    /// A watch or a list ended before it should.
    Ended,
    /// No connection, or one that broke.
    Unreachable(String),
    /// An answer that is none.
    Malformed(String),
    /// The audit found what no event has told.
    Missed,
    /// Nobody takes the changes any more.
    Closed,
}

impl Trouble {
    /// As metrics name it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Behind(_) => "behind",
            Self::Unauthorised(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Unsupported(_) | Self::Unknown(_) => "unsupported",
            Self::NotInstalled(_) => "not_installed",
            Self::Failing(_) => "failing",
            Self::Silent => "silent",
            Self::Ended => "ended",
            Self::Unreachable(_) => "unreachable",
            Self::Malformed(_) => "malformed",
            Self::Missed => "missed",
            Self::Closed => "closed",
        }
    }

    /// Whether a watch that met it cannot go on from where it was.
    pub fn needs_list(&self) -> bool {
        match self {
            Self::Gone
            | Self::Behind(_)
            | Self::Unsupported(_)
            | Self::Unknown(_)
            | Self::NotInstalled(_)
            | Self::Malformed(_)
            | Self::Missed => true,
            Self::Unauthorised(_)
            | Self::Forbidden(_)
            | Self::Failing(_)
            | Self::Silent
            | Self::Ended
            | Self::Unreachable(_)
            | Self::Closed => false,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the API server does not remember the version that is held"),
            Self::Behind(what) => write!(f, "the API server is behind what is held: {what}"),
            Self::Unauthorised(what) => {
                write!(f, "the API server does not know the credentials: {what}")
            }
            Self::Forbidden(what) => write!(
                f,
                "{what} (`hopzero rbac` prints the ClusterRole that is needed)"
            ),
            Self::Unsupported(what)
            | Self::Unknown(what)
            | Self::Failing(what)
            | Self::Unreachable(what) => f.write_str(what),
            Self::NotInstalled(definition) => write!(
                f,
                "the CustomResourceDefinition {definition} is not installed: there are no such objects until it is. \
                 Install it (kubernetes-sigs/mcs-api has it), or take `multicluster` out of the Corefile"
            ),
            Self::Silent => f.write_str("the API server says nothing"),
            Self::Ended => f.write_str("the API server ended its answer early"),
            Self::Malformed(what) => write!(f, "the API server's answer cannot be read: {what}"),
            Self::Missed => f.write_str("events were missed"),
            Self::Closed => f.write_str("nobody takes the changes"),
        }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => status.into(),
            kube::Error::SerdeError(error) => Self::Malformed(error.to_string()),
            kube::Error::FromUtf8(error) => Self::Malformed(error.to_string()),
            // A token that cannot be read.
            kube::Error::Auth(error) => Self::Unauthorised(chain(&error)),
            other => Self::Unreachable(chain(&other)),
        }
    }
}

impl From<Box<kube::core::Status>> for Trouble {
    fn from(status: Box<kube::core::Status>) -> Self {
        let what = format!("{} ({})", status.message, status.code);
        match status.code {
            401 => Self::Unauthorised(what),
            403 => Self::Forbidden(what),
            410 => Self::Gone,
            // The version that we hold is to come yet.
            504 if status.message.contains("Too large resource version") => Self::Behind(what),
            404 => Self::Unknown(what),
            400 | 405 | 422 => Self::Unsupported(what),
            _ => Self::Failing(what),
        }
    }
}

/// An error with its causes, each once: some repeat theirs.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let error_text = error.to_string();
        if !text.contains(&error_text) {
            text = format!("{text}: {error_text}");
        }
        cause = error.source();
    }
    text
}
