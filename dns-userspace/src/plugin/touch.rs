//! Which names a plugin could touch: what the chain lets the kernel answer.

use std::fmt;

use hickory_proto::rr::Name;

use crate::zone::Kept;

/// Names whose answers a plugin could change, refuse or record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Touch {
    /// All of them.
    Everything,
    /// This one.
    Name(Name),
    /// This one and all below it.
    Below(Name),
    /// This one and all below it, where the plugins behind say that they do not exist.
    Absent(Name),
    /// This one and all below it, where the plugins behind say that they exist.
    Present(Name),
    /// Those in which a regular expression finds something, in lower case and with the dot at the end, as `to_ascii`
    /// writes them. Which these are is only known of names that exist: of those that do not, the kernel denies none that
    /// the expression could match, by how it ends (`web\.example\.org\.$`: at or below `example.org`).
    Matching(String),
}

impl Touch {
    /// What it touches at and below `region`, if anything.
    #[must_use]
    pub fn within(&self, region: &Name) -> Option<Touch> {
        match self {
            Touch::Everything => Some(Touch::Below(region.clone())),
            Touch::Name(name) => region.zone_of(name).then(|| self.clone()),
            Touch::Below(name) => common(region, name).map(Touch::Below),
            Touch::Absent(name) => common(region, name).map(Touch::Absent),
            Touch::Present(name) => common(region, name).map(Touch::Present),
            // Those elsewhere too, which is more than need be.
            Touch::Matching(_) => Some(self.clone()),
        }
    }

    /// Keeps what it touches on the socket.
    pub fn keep(&self, kept: &mut Kept) {
        match self {
            Touch::Everything => kept.keep_below(&Name::root()),
            Touch::Name(name) => kept.keep(name),
            Touch::Below(name) => kept.keep_below(name),
            Touch::Absent(name) => kept.keep_absent_below(name),
            Touch::Present(name) => kept.keep_present_below(name),
            Touch::Matching(expression) => kept.keep_matching(expression),
        }
    }
}

/// As people say it.
impl fmt::Display for Touch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Touch::Everything => write!(formatter, "every name"),
            Touch::Name(name) => write!(formatter, "{name}"),
            Touch::Below(name) => write!(formatter, "{name} and all below"),
            Touch::Absent(name) => write!(formatter, "what does not exist of {name} and below"),
            Touch::Present(name) => write!(formatter, "what exists of {name} and below"),
            Touch::Matching(expression) => write!(formatter, "what matches {expression}"),
        }
    }
}

/// The subtree that two subtrees have in common.
fn common(one: &Name, other: &Name) -> Option<Name> {
    if one.zone_of(other) {
        Some(other.clone())
    } else {
        other.zone_of(one).then(|| one.clone())
    }
}
