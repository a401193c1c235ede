//! One kept reply.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use tokio::time::Instant;

use super::{
    super::{Reply, forward::message, reply::Flags, request::Header},
    classify::Kind,
    key::Key,
};
use crate::socket::{Addresses, Opt, Query, Sections, Status};

/// What is kept of a reply: its sections as bytes, which are sent again as they are.
pub struct Entry {
    key: Key,
    kind: Kind,
    /// It has an answer to its question.
    pub is_answer: bool,
    sections: Sections,
    status: Status,
    /// Names in it are compressed.
    compressed: bool,
    has_pointers: bool,
    /// When it came.
    pub kept: Instant,
    /// For how long it is fresh.
    pub ttl: u32,
    upkeep: Mutex<Upkeep>,
    /// The answer that stood here before a reply that is none.
    pub last_good: Option<Arc<Entry>>,
}

/// What happens to an entry while it is kept.
struct Upkeep {
    /// When it was asked for.
    asked: Option<Instant>,
    /// How often, without a longer pause.
    count: u32,
    is_refreshed: bool,
    /// Not before that.
    refreshed_again: Option<Instant>,
}

impl Upkeep {
    fn next(&self, now: Instant, pause: Duration) -> u32 {
        match self.asked {
            Some(asked) if now.saturating_duration_since(asked) <= pause => {
                self.count.saturating_add(1)
            }
            _ => 1,
        }
    }
}

impl Entry {
    /// A reply to a question with this name as it is kept; `None` if it has no wire form.
    pub fn new(
        key: Key,
        name: &Name,
        kind: Kind,
        is_answer: bool,
        reply: &Reply,
        kept: Instant,
        ttl: u32,
    ) -> Option<Self> {
        Some(Entry {
            sections: Sections::new(&name.to_lowercase(), reply)?,
            key,
            kind,
            is_answer,
            status: Status {
                rcode: reply.rcode,
                flags: reply.flags,
            },
            compressed: reply.compressed,
            has_pointers: reply.compressed && has_names(reply),
            kept,
            ttl,
            upkeep: Mutex::new(Upkeep {
                asked: None,
                count: 0,
                is_refreshed: false,
                refreshed_again: None,
            }),
            last_good: None,
        })
    }

    /// Whether it is among the denials.
    pub fn is_denial(&self) -> bool {
        matches!(self.kind, Kind::NoName | Kind::NoData | Kind::ServerError)
    }

    /// SERVFAIL: it may be over soon.
    pub fn is_failure(&self) -> bool {
        self.status.rcode == ResponseCode::ServFail
    }

    /// Whether it is for that question.
    pub fn is_for(&self, question: &[u8]) -> bool {
        *self.key.question == *question
    }

    /// Names within records may point at the question.
    pub fn has_pointers(&self) -> bool {
        self.has_pointers
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.question.len() + self.sections.bytes()
    }

    /// Seconds that are left; negative once it is stale.
    pub fn left(&self, now: Instant) -> i64 {
        let age = now.saturating_duration_since(self.kept).as_secs();
        i64::from(self.ttl).saturating_sub_unsigned(age)
    }

    /// Fresh, or not stale for longer than that.
    pub fn is_usable(&self, now: Instant, stale_max: Duration) -> bool {
        let left = self.left(now);
        left > 0 || left.saturating_neg().unsigned_abs() < stale_max.as_secs()
    }

    /// AD is for who asks for DNSSEC, or sets it (RFC 6840 sections 5.7 and 5.8).
    fn status(&self, wants_ad: bool) -> Status {
        Status {
            flags: Flags {
                authentic_data: self.status.flags.authentic_data && wants_ad,
                ..self.status.flags
            },
            ..self.status
        }
    }

    /// The message for a query, if the client takes one so long.
    pub fn write(
        &self,
        query: &Query<'_>,
        bytes_max: usize,
        ttl: u32,
        message: &mut Vec<u8>,
    ) -> Option<(ResponseCode, Option<Addresses>)> {
        if self.sections.message_bytes(query) > bytes_max {
            return None;
        }
        let dnssec_ok = query.edns.is_some_and(|opt: Opt<'_>| opt.dnssec_ok);
        let status = self.status(dnssec_ok || query.header.authentic_data);
        self.sections.write(query, status, ttl, message);
        Some((status.rcode, self.sections.addresses()))
    }

    /// The reply for plugins that look into it.
    pub fn reply(&self, wants_ad: bool, ttl: u32) -> Reply {
        let query = Query {
            header: Header::default(),
            question: &self.key.question,
            rtype: RecordType::ZERO,
            class: 0,
            edns: None,
            serial: None,
        };
        let mut bytes = Vec::new();
        let status = self.status(wants_ad);
        self.sections.write(&query, status, ttl, &mut bytes);
        // It was read or made by us before.
        let reply = message::decode(&bytes).unwrap_or_else(|_| Reply::bare(ResponseCode::ServFail));
        Reply {
            compressed: self.compressed,
            ..reply
        }
    }

    /// Notes that it was asked for; how often, without a pause of more than `pause`.
    pub fn note(&self, now: Instant, pause: Duration) -> u32 {
        let mut upkeep = self.upkeep();
        upkeep.count = upkeep.next(now, pause);
        upkeep.asked = Some(now);
        upkeep.count
    }

    /// What [`note`](Self::note) would say, and whether the entry is being refreshed.
    pub fn would_note(&self, now: Instant, pause: Duration) -> (u32, bool) {
        let upkeep = self.upkeep();
        (upkeep.next(now, pause), upkeep.is_refreshed)
    }

    /// It was asked for as often as the one that it replaces.
    pub fn inherit(&self, other: &Entry, now: Instant) {
        let count = other.upkeep().count;
        let mut upkeep = self.upkeep();
        upkeep.asked = Some(now);
        upkeep.count = count;
    }

    /// Begins to refresh it, if nobody does and it is time.
    pub fn begin_refresh(self: &Arc<Self>, now: Instant, pause: Duration) -> Option<Refreshing> {
        let mut upkeep = self.upkeep();
        let is_too_early = upkeep.refreshed_again.is_some_and(|again| now < again);
        if upkeep.is_refreshed || (!pause.is_zero() && is_too_early) {
            return None;
        }
        upkeep.is_refreshed = true;
        Some(Refreshing {
            entry: Arc::clone(self),
            pause,
            is_done: false,
        })
    }

    fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One refresh of an entry, which ends when this is dropped.
pub struct Refreshing {
    entry: Arc<Entry>,
    /// After a failure.
    pause: Duration,
    /// Whether there is a new reply.
    pub is_done: bool,
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        let mut upkeep = self.entry.upkeep();
        let failed = !self.is_done && !self.pause.is_zero();
        upkeep.refreshed_again = failed.then(|| Instant::now() + self.pause);
        upkeep.is_refreshed = false;
    }
}
/// Whether data of its records may be names that are compressed (RFC 3597 section 4).
fn has_names(reply: &Reply) -> bool {
    let sections = [&reply.answers, &reply.authority, &reply.additionals];
    let is_plain = |rtype| {
        matches!(
            rtype,
            RecordType::A | RecordType::AAAA | RecordType::TXT | RecordType::SRV
        )
    };
    (sections.into_iter().flatten()).any(|record| !is_plain(record.record_type()))
}
