//! The one truth about names: which exist, their `RRsets` and TTLs, and what is answered when there
//! is nothing. Kernel and socket are two views of it.
//!
//! Nothing here is stored by name. A name is parsed into what it stands for, the cluster state is
//! asked for that, and the records are made on demand: [`Zone::node`] makes all types of a name,
//! [`Zone::lookup`] the one that was asked for, by the same functions. The module is pure: no
//! I/O and no clock.
//!
//! Where `CoreDNS` and the DNS protocol differ, the protocol is followed:
//!
//! - Whatever has a name below it exists (RFC 8020), reverse zones and `dns.<zone>` included.
//! - `_port._proto` names hold SRV records only; `CoreDNS` gives them the service's addresses too.
//! - An endpoint's name holds addresses only; `CoreDNS` gives it SRV records too.
//! - An `ExternalName` whose target in our zones does not exist is NXDOMAIN behind its CNAME, and
//!   NODATA likewise (RFC 6604); `CoreDNS` hides the CNAME and says NODATA to both. A loop of aliases is
//!   shown as far as it goes; `CoreDNS` says NODATA.
//! - The PTR record of an endpoint needs its service, so that the target exists. For the same reason a zone of imported
//!   services has the name server `ns.dns`; `CoreDNS` names the cluster's own service there.

mod aliases;
mod authority;
mod held;
mod kept;
mod lookup;
mod names;
mod owner;
mod question;
mod records;
pub mod reverse;
mod shown;
#[cfg(test)]
mod tests;
mod transfer;

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
};

pub use authority::{PROGRESS_EVERY, Zone};
pub use held::{Addresses, Held, Port, Target};
pub use kept::Kept;
pub use names::below;
pub use owner::OwnerName;
pub use shown::{Pods, Shown};

/// What an owner name holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// The name does not exist (NXDOMAIN), or is in none of our zones.
    Absent,
    /// The name exists with these `RRsets`; none at all is an empty non-terminal. Any other type is
    /// NODATA.
    Records(Vec<RrSet>),
    /// The name is an alias of a name of the same zone.
    Alias(Alias),
    /// The name exists, but only the socket may answer for it.
    SocketOnly,
}

/// An alias, its target, and nothing further: a CNAME question is answered with the one, a question for
/// addresses with both, or with the CNAME and the SOA. Whatever else is asked only the socket answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Alias {
    /// The CNAME record.
    pub cname: RrSet,
    /// A and AAAA of the target: both, one or none of them.
    pub addresses: Vec<RrSet>,
}

/// Records of one type at one owner name. They share a TTL (RFC 2181 section 5.2).
#[derive(Clone, Debug, PartialEq)]
pub struct RrSet {
    /// The type of every record.
    pub rtype: RecordType,
    /// Seconds.
    pub ttl: u32,
    /// In a stable order, without duplicates, never empty.
    pub rdata: Vec<RData>,
    /// The addresses of SRV targets, in the order of the targets.
    pub additionals: Vec<Record>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// NOERROR, NXDOMAIN, or SERVFAIL before the first synchronisation.
    pub rcode: ResponseCode,
    /// AA
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section: the zone's SOA in negative answers (RFC 2308).
    pub authority: Vec<Record>,
    /// The additional section, without OPT.
    pub additionals: Vec<Record>,
}

/// How zones are named and timed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ZoneConfig {
    /// The cluster's domain, `cluster.local.`
    pub origin: Name,
    /// Other domains with the same names. PTR records name the first domain.
    pub others: Vec<Name>,
    /// The domains among them all, and zones above domains, whose services are those that the cluster imports.
    pub multicluster: Vec<Name>,
    /// Reverse zones that we are the authority of; a PTR question outside them is not ours.
    pub reverse: Vec<Name>,
    /// TTL of every record and the SOA's minimum, seconds.
    pub ttl: u32,
    /// What of the cluster they hold.
    pub shown: Shown,
}
