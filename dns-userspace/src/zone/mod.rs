//! The one truth about names: which exist, their RRsets and TTLs, and what is answered when there
//! is nothing. Kernel and socket are two views of it.

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
};

/// What an owner name holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// The name does not exist (NXDOMAIN), or is in none of our zones.
    Absent,
    /// The name exists with these RRsets; none at all is an empty non-terminal. Any other type is
    /// NODATA.
    Records(Vec<RrSet>),
    /// The name exists, but only the socket may answer for it.
    SocketOnly,
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
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// The cluster's domain, `cluster.local.`
    pub origin: Name,
    /// Reverse zones that we are the authority of; a PTR question outside them is not ours.
    pub reverse: Vec<Name>,
    /// TTL of every record and the SOA's minimum, seconds.
    pub ttl: u32,
}
