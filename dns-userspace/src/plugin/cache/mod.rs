//! `cache`: replies are kept for as long as their TTL says.
//!
//! ```text
//! cache [TTL] [ZONES...] {
//!     success CAPACITY [TTL] [MINTTL]        how many, for how many seconds at most and at least; 9984 3600 5
//!     denial CAPACITY [TTL] [MINTTL]         the same for NXDOMAIN, NODATA and errors; 9984 1800 5
//!     servfail DURATION                      SERVFAIL and NOTIMP, at most 5m; 5s
//!     prefetch AMOUNT [DURATION [PERCENT%]]  what was asked for so often, without a pause of DURATION (1m), is
//!                                            asked again when no more than PERCENT (10) of its time is left
//!     serve_stale [DURATION [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]]
//!                                            what is stale is still used for DURATION (1h): at once, and asked again
//!                                            behind that; or if asking again brings nothing (in TIMEOUT)
//!     serve_stale_policy prefer_positive     answers rather than denials, also stale ones
//!     disable success|denial [ZONES...]      what is not kept
//!     keepttl                                TTLs are not counted down
//! }
//! ```
//!
//! A reply is kept under its question, DO and CD. All its records get one TTL, the lowest of them within the limits; from
//! the first client on. AA, RA and the RCODE are those of the reply that is kept; AD is for who asks for DNSSEC. EDNS
//! options of upstreams are theirs and the first client's, and not passed on.
//!
//! Cluster names: what `kubernetes` answers is neither kept nor changed. The zone is in memory and true at once; and
//! the kernel's answers, which never see this plugin, stay those of the socket. So nothing that is configured here keeps
//! a name from the kernel. It follows that a maximum TTL below the `ttl` of `kubernetes` does not hold for
//! cluster names; `CoreDNS` lowers their TTL, and says what was true some seconds ago.
//!
//! What else `CoreDNS` does differently:
//!
//! | | `CoreDNS` | here |
//! |---|---|---|
//! | `disable` | not for what was refreshed | for all |
//! | a denial, once an answer is kept | stays, if no prefetch brought that | is gone |
//! | a prefetch | over TCP | as the query that caused it; over TCP where that is truncated |
//! | memory | as many bytes as the entries have | 4 KiB for each entry of the capacity |
//! | more words in `success`, `denial` | ignored | an error |

mod classify;
mod counters;
mod entry;
mod key;
mod refresh;
mod setup;
mod shelves;

use std::{hash::RandomState, sync::Arc, time::Duration};

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

pub(super) use setup::setup;

use self::{
    classify::{Kind, Question, answers},
    counters::{Counters, Tellers},
    entry::Entry,
    key::{Key, Lowered},
    shelves::Shelves,
};
use super::{
    Glance, Glanced, Glimpse, Next, Outcome, Plugin, Reply, Request, Served, Touch, zones::Zones,
};

/// What the directive says of one kind of replies.
#[derive(Clone, Debug)]
struct Side {
    capacity: usize,
    ttl_max: Duration,
    ttl_min: Duration,
    /// Not kept there.
    except: Zones,
}

/// What the directive says.
#[derive(Clone, Debug)]
struct Config {
    zones: Zones,
    success: Side,
    denial: Side,
    /// For SERVFAIL and NOTIMP; zero: not at all.
    servfail: Duration,
    prefetch: Option<Prefetch>,
    /// Zero: nothing stale is used.
    stale_max: Duration,
    stale: Stale,
    prefer_positive: bool,
    keep_ttl: bool,
}

/// `prefetch`
#[derive(Clone, Copy, Debug)]
struct Prefetch {
    amount: u32,
    pause: Duration,
    percent: u32,
}

/// `serve_stale`
#[derive(Clone, Copy, Debug, Default)]
struct Stale {
    /// Only where asking again brings nothing.
    verify: bool,
    /// In this time; zero: as long as it takes.
    timeout: Duration,
    /// In the answer.
    ttl: u32,
    /// After asking again in vain.
    recheck: Duration,
}

struct Cache(Arc<Inner>);

struct Inner {
    config: Config,
    hasher: RandomState,
    successes: Shelves,
    denials: Shelves,
    tellers: Tellers,
}

/// A query to the cache.
#[derive(Clone)]
struct Wanted {
    key: Key,
    hash: u64,
    /// DO, or AD.
    wants_ad: bool,
    counters: Arc<Counters>,
}

#[async_trait]
impl Plugin for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let cache = &self.0;
        let key = Key::of(request);
        if !cache.config.zones.contain(key.name_bytes()) {
            return next.run(request).await;
        }
        let wanted = Wanted {
            hash: key.hash(&cache.hasher),
            wants_ad: key.dnssec_ok || request.header.authentic_data,
            key,
            counters: cache.tellers.of(&request.server, &request.view),
        };
        let counters = &wanted.counters;
        counters.requests.inc();
        let now = Instant::now();
        let Some(entry) = cache.find(wanted.hash, &wanted.key.question, now) else {
            counters.misses.inc();
            return cache.ask(&wanted, request, next).await;
        };
        counters.hits.of(entry.is_denial()).inc();
        let left = entry.left(now);
        if left <= 0 {
            if !cache.config.stale.verify {
                cache.refresh_behind(&entry, &wanted, request, next);
            } else if let Some(outcome) = cache.verify(&entry, &wanted, request, next).await {
                return outcome;
            }
            counters.served_stale.add(1);
        } else if let Some(prefetch) = cache.config.prefetch
            && prefetch.is_due(entry.note(now, prefetch.pause), left, entry.ttl)
        {
            cache.prefetch(&entry, &wanted, request, next);
        }
        let ttl = cache.ttl(&entry, left);
        Ok(entry.reply(wanted.wants_ad, ttl).into())
    }

    fn glance(&self, query: &Glimpse<'_>, reply: &mut Glanced<'_>) -> Glance {
        let (cache, asked) = (&self.0, query.asked);
        if !cache.config.zones.contain(asked.name) {
            return Glance::Next;
        }
        cache.glance(query, reply)
    }

    fn touches(&self) -> Vec<Touch> {
        // What `kubernetes` answers goes by unchanged: see above.
        Vec::new()
    }
}

impl Prefetch {
    /// Asked for so often, with so much time left.
    fn is_due(self, count: u32, left: i64, ttl: u32) -> bool {
        let threshold = (u64::from(self.percent) * u64::from(ttl)).div_ceil(100);
        count >= self.amount && left.unsigned_abs() <= threshold
    }
}

impl Inner {
    /// An entry that may be used: denials first, but a SERVFAIL behind an answer.
    fn find(&self, hash: u64, question: &[u8], now: Instant) -> Option<Arc<Entry>> {
        let stale_max = self.config.stale_max;
        let usable = |entry: &Arc<Entry>| {
            (entry.is_for(question) && entry.is_usable(now, stale_max)).then(|| Arc::clone(entry))
        };
        let success = || self.successes.with(hash, usable).flatten();
        if self.config.prefer_positive && !stale_max.is_zero() {
            let answer = |entry: &Arc<Entry>| {
                let answer = if entry.is_answer {
                    Some(entry)
                } else {
                    entry.last_good.as_ref()
                };
                answer.and_then(usable)
            };
            if let Some(entry) = self.successes.with(hash, answer).flatten() {
                return Some(entry);
            }
        }
        match self.denials.with(hash, usable).flatten() {
            Some(entry) if entry.is_failure() => Some(success().unwrap_or(entry)),
            Some(entry) => Some(entry),
            None => success(),
        }
    }

    /// The TTL of an answer from an entry.
    fn ttl(&self, entry: &Entry, left: i64) -> u32 {
        let is_stale = left <= 0;
        if is_stale && self.config.stale.ttl > 0 {
            self.config.stale.ttl
        } else if self.config.keep_ttl {
            entry.ttl
        } else {
            u32::try_from(left).unwrap_or(0)
        }
    }

    /// Answers from a fresh entry, if nothing else is to be done.
    fn glance(&self, query: &Glimpse<'_>, reply: &mut Glanced<'_>) -> Glance {
        let asked = query.asked;
        let dnssec_ok = asked.query.edns.is_some_and(|opt| opt.dnssec_ok);
        let question = Lowered::new(asked.name, asked.query.question);
        let question = question.bytes();
        let cd = asked.query.header.checking_disabled;
        let hash = key::hash(&self.hasher, question, dnssec_ok, cd);
        let Some(entry) = self.find(hash, question, query.begun) else {
            // As `authenticated` does.
            return Glance::Behind {
                authentic_data: true,
            };
        };
        // What the names of records are spelt as is the lower case of the question where they point at it.
        if entry.has_pointers() && asked.query.name_bytes() != asked.name {
            return Glance::InDoubt;
        }
        let left = entry.left(query.begun);
        if left <= 0 {
            return Glance::InDoubt;
        }
        if let Some(prefetch) = self.config.prefetch {
            let (count, is_refreshed) = entry.would_note(query.begun, prefetch.pause);
            if prefetch.is_due(count, left, entry.ttl) && !is_refreshed {
                return Glance::InDoubt;
            }
        }
        let counted = self.tellers.with(query.server, query.view, |counters| {
            let ttl = self.ttl(&entry, left);
            let bytes_max = asked.answer_bytes_max;
            let written = entry.write(&asked.query, bytes_max, ttl, reply.message);
            if written.is_some() {
                counters.requests.inc();
                counters.hits.of(entry.is_denial()).inc();
            }
            written
        });
        let Some((rcode, addresses)) = counted.flatten() else {
            return Glance::InDoubt;
        };
        if let Some(prefetch) = self.config.prefetch {
            entry.note(query.begun, prefetch.pause);
        }
        reply.rcode = rcode;
        reply.addresses = addresses;
        reply.plugin = "cache";
        Glance::Answered
    }

    /// Asks those behind, and keeps what they say; SERVFAIL too where they do not say it but fail.
    async fn ask(&self, wanted: &Wanted, request: &mut Request, next: Next<'_>) -> Outcome {
        let outcome = authenticated(request, next).await;
        match outcome {
            Ok(Served::Reply(mut reply)) => {
                self.take(wanted, request, &mut reply);
                Ok(reply.into())
            }
            Err(failure) => {
                if failure.rcode == ResponseCode::ServFail {
                    let mut reply = Reply::bare(ResponseCode::ServFail);
                    self.take(wanted, request, &mut reply);
                }
                Err(failure)
            }
            silence => silence,
        }
    }

    /// Makes a reply one of the cache's, and keeps it if it can be kept; what is kept.
    fn take(&self, wanted: &Wanted, request: &Request, reply: &mut Reply) -> Option<Arc<Entry>> {
        if is_of_the_cluster(reply) {
            return None;
        }
        let question = question(request);
        let kind = Kind::of(reply, question, wanted.key.dnssec_ok);
        let within = |side: &Side| {
            kind.ttl(reply, side.ttl_max)
                .max(side.ttl_min)
                .min(side.ttl_max)
        };
        let duration = match kind {
            Kind::NoName | Kind::NoData => within(&self.config.denial),
            Kind::ServerError => self.config.servfail,
            Kind::Success | Kind::Delegation | Kind::Other => within(&self.config.success),
        };
        let ttl = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let sections = [
            &mut reply.answers,
            &mut reply.authority,
            &mut reply.additionals,
        ];
        for record in sections.into_iter().flatten() {
            record.ttl = ttl;
        }
        reply.options.clear();
        let mut kept = None;
        if kind.is_kept(reply, question) && !duration.is_zero() {
            if wanted.key.is_of(request) {
                let is_answer = kind == Kind::Success && answers(reply, question);
                let entry = Entry::new(
                    wanted.key.clone(),
                    &request.name,
                    kind,
                    is_answer,
                    reply,
                    Instant::now(),
                    ttl,
                );
                kept = entry.and_then(|entry| self.keep(wanted, entry));
            } else {
                wanted.counters.drops.add(1);
            }
        }
        reply.flags.authentic_data &= wanted.wants_ad;
        kept
    }

    fn keep(&self, wanted: &Wanted, mut entry: Entry) -> Option<Arc<Entry>> {
        let is_denial = entry.is_denial();
        let (side, shelves) = if is_denial {
            (&self.config.denial, &self.denials)
        } else {
            (&self.config.success, &self.successes)
        };
        if side.except.contain(wanted.key.name_bytes()) {
            return None;
        }
        let prefer_positive = self.config.prefer_positive;
        if !is_denial && prefer_positive && !entry.is_answer {
            let answer = |before: &Arc<Entry>| {
                let is_ours = before.is_for(&wanted.key.question);
                let last = before.last_good.clone();
                let before = if before.is_answer {
                    Some(Arc::clone(before))
                } else {
                    last
                };
                before.filter(|_| is_ours)
            };
            entry.last_good = shelves.with(wanted.hash, answer).flatten();
        }
        let removes_denial = !is_denial && (!prefer_positive || entry.is_answer);
        let entry = Arc::new(entry);
        let counters = &wanted.counters;
        let evicted = shelves.insert(wanted.hash, Arc::clone(&entry));
        counters.evictions.of(is_denial).add(evicted);
        if removes_denial {
            self.denials.remove(wanted.hash);
        }
        let count = |shelves: &Shelves| i64::try_from(shelves.len()).unwrap_or(i64::MAX);
        counters.entries.success.set(count(&self.successes));
        counters.entries.denial.set(count(&self.denials));
        Some(entry)
    }
}

/// What `kubernetes` says is the kernel's answer too.
fn is_of_the_cluster(reply: &Reply) -> bool {
    reply.plugin == Some("kubernetes")
}

fn question(request: &Request) -> Question<'_> {
    Question {
        name: &request.name,
        rtype: request.rtype,
        class: request.class,
    }
}

/// Upstreams are always asked for AD (RFC 6840 section 5.7): what they say is for other clients too.
async fn authenticated(request: &mut Request, next: Next<'_>) -> Outcome {
    let is_asked = std::mem::replace(&mut request.header.authentic_data, true);
    let outcome = next.run(request).await;
    request.header.authentic_data = is_asked;
    outcome
}
