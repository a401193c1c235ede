//! What is counted of queries: plain numbers, which a scope has at hand.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

use super::kernel::KernelMetrics;
use crate::{
    plugin::{Glanced, Glimpse, Sent, metrics::Histogram},
    socket::Transport,
};

/// The label `zone` of what belongs to no server block. Without a dot at its end it cannot be a zone.
const DROPPED: &str = "dropped";

/// Types with a label of their own; all others are `other`.
pub(super) const TYPES: [(RecordType, &str); 19] = [
    (RecordType::A, "A"),
    (RecordType::AAAA, "AAAA"),
    (RecordType::PTR, "PTR"),
    (RecordType::SRV, "SRV"),
    (RecordType::TXT, "TXT"),
    (RecordType::HTTPS, "HTTPS"),
    (RecordType::SVCB, "SVCB"),
    (RecordType::CNAME, "CNAME"),
    (RecordType::MX, "MX"),
    (RecordType::NS, "NS"),
    (RecordType::SOA, "SOA"),
    (RecordType::DS, "DS"),
    (RecordType::DNSKEY, "DNSKEY"),
    (RecordType::RRSIG, "RRSIG"),
    (RecordType::NSEC, "NSEC"),
    (RecordType::NSEC3, "NSEC3"),
    (RecordType::ANY, "ANY"),
    (RecordType::AXFR, "AXFR"),
    (RecordType::IXFR, "IXFR"),
];

/// Where a type is counted; the last is for all without a label of their own.
pub(super) fn type_index(rtype: RecordType) -> usize {
    let known = TYPES.iter().position(|(known, _)| *known == rtype);
    known.unwrap_or(TYPES.len())
}

/// The label `proto`, in the order of the counters.
pub(super) const PROTOS: [&str; 2] = ["udp", "tcp"];
/// The label `family`, in the order of the counters.
pub(super) const FAMILIES: [&str; 2] = ["1", "2"];

const BYTES: [u64; 14] = [
    0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000,
];

/// All scopes, and what belongs to none. A clone counts in the same place.
#[derive(Clone, Debug, Default)]
pub struct DnsCounters(pub(super) Arc<All>);

#[derive(Debug, Default)]
pub(super) struct All {
    pub scopes: Mutex<Vec<Arc<Scope>>>,
    pub enabled: Mutex<Vec<Enabled>>,
    pub panics: AtomicU64,
    pub kernel: KernelMetrics,
}

/// A plugin where it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enabled {
    /// The server.
    pub server: Arc<str>,
    /// The zone.
    pub zone: String,
    /// The plugin.
    pub name: &'static str,
}

impl DnsCounters {
    /// What is counted for one server, zone and view.
    pub fn scope(&self, server: &Arc<str>, zone: &str, view: &Arc<str>) -> Arc<Scope> {
        let mut scopes = self.0.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |scope: &&Arc<Scope>| {
            scope.server == *server && scope.zone == zone && scope.view == *view
        };
        if let Some(scope) = scopes.iter().find(is_same) {
            return Arc::clone(scope);
        }
        let scope = Arc::new(Scope::new(server, zone, view));
        scopes.push(Arc::clone(&scope));
        scope
    }

    /// What a server counts that belongs to no server block.
    pub fn dropped(&self, server: &Arc<str>) -> Arc<Scope> {
        self.scope(server, DROPPED, &"".into())
    }

    /// The kernel's part.
    pub fn kernel(&self) -> &KernelMetrics {
        &self.0.kernel
    }

    /// A plugin has panicked.
    pub fn panicked(&self) {
        self.0.panics.fetch_add(1, Relaxed);
    }

    /// These plugins are in use, and no others.
    pub fn enable(&self, plugins: Vec<Enabled>) {
        *(self.0.enabled.lock()).unwrap_or_else(PoisonError::into_inner) = plugins;
    }
}

/// What is counted of one query.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    client: IpAddr,
    transport: Transport,
    rtype: RecordType,
    dnssec_ok: bool,
    duration: Duration,
    query_bytes: usize,
    reply_bytes: usize,
    rcode: ResponseCode,
    plugin: &'static str,
}

/// One that is kept back counts as NOERROR of no bytes.
impl From<&Sent<'_>> for Observed {
    fn from(sent: &Sent<'_>) -> Self {
        Observed {
            client: sent.client.ip(),
            transport: sent.transport,
            rtype: sent.rtype,
            dnssec_ok: sent.edns.is_some_and(|edns| edns.dnssec_ok),
            duration: sent.duration,
            query_bytes: sent.query_bytes,
            reply_bytes: sent.reply.bytes,
            rcode: sent.reply.rcode.unwrap_or(ResponseCode::NoError),
            plugin: sent.reply.plugin.unwrap_or(""),
        }
    }
}

impl Observed {
    /// What was answered at a glance.
    pub fn glanced(query: &Glimpse<'_>, reply: &Glanced<'_>) -> Self {
        let asked = query.asked;
        Observed {
            client: asked.path.client.ip(),
            transport: asked.path.transport,
            rtype: asked.query.rtype,
            dnssec_ok: asked.query.edns.is_some_and(|opt| opt.dnssec_ok),
            duration: query.elapsed(),
            query_bytes: asked.bytes,
            reply_bytes: reply.message.len(),
            rcode: reply.rcode,
            plugin: reply.plugin,
        }
    }
}

/// What is counted for one server, zone and view.
#[derive(Debug)]
pub struct Scope {
    pub(super) server: Arc<str>,
    pub(super) zone: String,
    /// The zone once more, to be compared.
    name: Option<Name>,
    pub(super) view: Arc<str>,
    /// By transport, family and type.
    pub(super) requests: [[[AtomicU64; TYPES.len() + 1]; 2]; 2],
    pub(super) dnssec_ok: AtomicU64,
    pub(super) durations: Histogram,
    /// By transport.
    pub(super) query_bytes: [Histogram; 2],
    /// By transport.
    pub(super) reply_bytes: [Histogram; 2],
    /// By RCODE and plugin.
    pub(super) replies: RwLock<HashMap<(ResponseCode, &'static str), AtomicU64>>,
}

impl Scope {
    fn new(server: &Arc<str>, zone: &str, view: &Arc<str>) -> Self {
        Scope {
            server: Arc::clone(server),
            zone: zone.to_owned(),
            name: Name::from_ascii(zone).ok().filter(|_| zone != DROPPED),
            view: Arc::clone(view),
            requests: Default::default(),
            dnssec_ok: AtomicU64::new(0),
            durations: Histogram::of_times(),
            query_bytes: PROTOS.map(|_| Histogram::new(&BYTES)),
            reply_bytes: PROTOS.map(|_| Histogram::new(&BYTES)),
            replies: RwLock::default(),
        }
    }

    /// Whether it is the one for a query to a zone.
    pub(super) fn is(&self, server: &Arc<str>, zone: &Name, view: &Arc<str>) -> bool {
        let is_same = |one: &Arc<str>, other: &Arc<str>| Arc::ptr_eq(one, other) || one == other;
        is_same(&self.server, server)
            && is_same(&self.view, view)
            && self.name.as_ref().is_some_and(|name| name == zone)
    }

    /// Counts a query and its reply.
    pub fn record(&self, observed: &Observed) {
        let proto = match observed.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        };
        let family = usize::from(observed.client.is_ipv6());
        self.requests[proto][family][type_index(observed.rtype)].fetch_add(1, Relaxed);
        if observed.dnssec_ok {
            self.dnssec_ok.fetch_add(1, Relaxed);
        }
        self.durations.observe_time(observed.duration);
        self.query_bytes[proto].observe(observed.query_bytes as u64);
        self.reply_bytes[proto].observe(observed.reply_bytes as u64);
        self.replied((observed.rcode, observed.plugin));
    }

    fn replied(&self, key: (ResponseCode, &'static str)) {
        let replies = self.replies.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = replies.get(&key) {
            count.fetch_add(1, Relaxed);
            return;
        }
        drop(replies);
        let mut replies = self.replies.write().unwrap_or_else(PoisonError::into_inner);
        replies.entry(key).or_default().fetch_add(1, Relaxed);
    }
}
