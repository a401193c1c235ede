//! Which names a plugin could touch: what the chain lets the kernel answer.

use hickory_proto::rr::Name;

/// Names whose answers a plugin could change, refuse or record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// All of them.
    Everything,
    /// This one.
    Name(Name),
    /// This one and all below it.
    Below(Name),
    /// Those that match a regular expression, in lower case and with the dot at the end. Which these are is
    /// only known of names that exist, so that none is denied by the kernel.
    Matching(String),
}
