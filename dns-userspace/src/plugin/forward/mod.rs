//! `forward`: asks upstreams.
//!
//! ```text
//! forward FROM TO... {
//!     except NAMES...                        below FROM, but not ours
//!     policy random|round_robin|sequential   which upstream first; random unless given
//!     force_tcp                              over TCP, whatever the client uses
//!     prefer_udp                             over UDP, whatever the client uses
//!     expire DURATION                        how long a connection waits for queries; 10s
//!     max_age DURATION                       how old a connection becomes; without limit
//!     max_idle_conns N                       connections that wait; without limit
//!     read_timeout DURATION                  how long an upstream may take; 2s
//!     max_connect_attempts N                 for one query; twice the number of upstreams, 0: any number
//!     max_fails N                            it is down after more failed checks than this; 2, 0: never
//!     health_check DURATION [no_rec] [domain FQDN]     the pause between checks; 500ms, of `.`
//!     tls [CA] | tls CERT KEY [CA]
//!     tls_servername NAME                    what certificates must be for; else the upstream's address
//!     max_concurrent N                       more queries at once are refused; without limit
//!     next RCODE...                          with such a reply the next `forward` is asked, if there is one
//!     next_on_nodata                         the same for NOERROR without answers
//!     failover RCODE...                      with such a reply the next upstream is asked
//!     failfast_all_unhealthy_upstreams       if all are down, none is tried
//!     source_address IP
//! }
//! ```
//!
//! ```text
//! query ─▶ Forward ─▶ Flights ─▶ Upstreams ─▶ Upstream ─▶ Lanes (UDP), Streams (TCP, TLS)
//!          mine?      asked      in which     down?       sockets that are kept; is it the reply?
//!   ╎                 already?   order                      ╎
//!   └╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ Ahead: before the query goes through the plugins
//! ```
//!
//! An upstream that fails a query is checked until it answers; only these checks say that it is down. If all are
//! down, one at random is asked all the same. A query has 5 s for all its attempts.
//!
//! What `CoreDNS` does differently:
//!
//! | | `CoreDNS` | here |
//! |---|---|---|
//! | a reply with the right ID and the wrong question | FORMERR to the client | discarded (RFC 5452); the wait goes on |
//! | a truncated reply over UDP | passed on, but for `prefer_udp` | TCP is tried; passed on if that fails |
//! | a record whose data is shorter than its type | truncated, without records | SERVFAIL, the next upstream first |
//! | compressed names in data of MINFO, RP and other old types | passed on | SERVFAIL, the next upstream first |
//! | the size in OPT to the upstream | the client's | 1232, which is what is received |
//! | the same question while it is being asked | asked again | shares the reply |
//! | a connection takes long | up to 30 s | as long as `read_timeout` |
//! | 5 s for one query | looked at between attempts | never more |
//! | upstreams by name (`resolver`), over HTTPS (`doh_method`) | | an error |

mod ahead;
mod error;
mod flight;
mod known;
mod lane;
pub(super) mod message;
mod patience;
mod policy;
mod properties;
mod setup;
mod stream;
mod tls;
mod to;
mod udp;
mod upstream;
mod walk;

pub mod counters;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{op::ResponseCode, rr::RecordType};

pub use ahead::{Ahead, Landed};
pub use known::Known;
pub(super) use setup::setup;
pub use to::nameservers;
pub use udp::Batch;

use self::{
    flight::Flights,
    message::Query,
    walk::{Upstreams, Walked},
};
use super::{
    Failure, Glance, Glanced, Glimpse, Next, Outcome, Plugin, Request, Sent, Touch, zones::Zones,
};
use crate::{socket::Transport, wire};

/// Times that no property sets.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For one query, all attempts together.
    pub total: Duration,
    /// For one health check.
    pub probe: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            total: Duration::from_secs(5),
            probe: Duration::from_secs(1),
        }
    }
}

struct Forward(Arc<Inner>);

struct Inner {
    /// In lower case and as on the wire.
    from: Box<[u8]>,
    except: Zones,
    /// 0: without limit.
    max_concurrent: u64,
    concurrent: AtomicU64,
    next_rcodes: Vec<ResponseCode>,
    next_on_nodata: bool,
    flights: Flights<Walked>,
    upstreams: Upstreams,
}

#[async_trait]
impl Plugin for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let forward = &self.0;
        if !forward.is_mine(&wire::lower_name(&request.name)) {
            return next.run(request).await;
        }
        let query = Query::forwarded(request);
        let walked = if let Some(walked) = request.landed.walk(forward, &query).await {
            walked
        } else {
            let _one_of = forward.enter()?;
            forward.ask(query, request).await
        };
        let reply = walked.map_err(Failure::new)?;
        let is_nodata = reply.rcode == ResponseCode::NoError && reply.answers.is_empty();
        if forward.next_rcodes.contains(&reply.rcode) || (forward.next_on_nodata && is_nodata) {
            return next.run(request).await;
        }
        Ok(Arc::unwrap_or_clone(reply).into())
    }

    fn metadata(&self, sent: &Sent<'_>, label: &str) -> Option<String> {
        let upstream = sent.reply.upstream.filter(|_| label == "forward/upstream");
        upstream.map(|address| address.to_string())
    }

    fn glance(&self, query: &Glimpse<'_>, _reply: &mut Glanced<'_>) -> Glance {
        if !self.0.is_mine(query.asked.name) {
            return Glance::Next;
        }
        let authentic_data = query.authentic_data || query.asked.query.header.authentic_data;
        match Ahead::new(&self.0, query.asked, authentic_data) {
            Some(ahead) => Glance::Ahead(ahead),
            None => Glance::InDoubt,
        }
    }

    fn touches(&self) -> Vec<Touch> {
        // It stands behind `kubernetes`.
        Vec::new()
    }
}

impl Inner {
    /// Of a name in lower case and as on the wire.
    fn is_mine(&self, name: &[u8]) -> bool {
        let is_below = wire::suffixes(name).any(|suffix| *suffix == *self.from);
        is_below && (*self.from == *name || !self.except.contain(name))
    }

    async fn ask(&self, query: Query, request: &Request) -> Walked {
        let (query, udp) = (Arc::new(query), request.transport == Transport::Udp);
        let flight = self.upstreams.ask(&query, udp, None);
        if is_of_loop(request.rtype) {
            flight.await
        } else {
            self.flights.join(query.key(udp), flight).await
        }
    }

    fn enter(self: &Arc<Self>) -> Result<OneOf, Failure> {
        OneOf::enter(self).ok_or_else(|| {
            let rejects = &self.upstreams.counters.max_concurrent_rejects;
            rejects.fetch_add(1, Relaxed);
            Failure {
                rcode: ResponseCode::Refused,
                error: format!(
                    "concurrent queries exceeded maximum {}",
                    self.max_concurrent
                ),
            }
        })
    }
}

/// The query by which `loop` looks for loops must not wait for itself.
fn is_of_loop(rtype: RecordType) -> bool {
    rtype == RecordType::HINFO
}

/// One of the queries at once.
struct OneOf(Arc<Inner>);

impl OneOf {
    /// None if there are as many as there may be.
    fn enter(forward: &Arc<Inner>) -> Option<Self> {
        let one_of = OneOf(Arc::clone(forward));
        let count = forward.concurrent.fetch_add(1, Relaxed) + 1;
        (forward.max_concurrent == 0 || count <= forward.max_concurrent).then_some(one_of)
    }
}

impl Drop for OneOf {
    fn drop(&mut self) {
        self.0.concurrent.fetch_sub(1, Relaxed);
    }
}
