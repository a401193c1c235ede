//! Queries to an upstream over UDP.
//!
//! Who forges a reply has to guess the port of the query and its ID (RFC 5452). A socket for each query has a
//! random port, and costs five system calls instead of two. Here an upstream has [`LANES`] sockets, each
//!
//! * with a port of its own, which the kernel takes at random from its range (`ip_local_port_range`);
//! * connected, so that what comes from elsewhere is not delivered, and a probe from elsewhere finds a closed port;
//! * for at most [`QUERIES_MAX`] queries and for as long as `expire` says: what can be learnt of a port is
//!   worth little.
//!
//! A query takes one of them at random, and an ID at random among those that are free there, both from a
//! generator that cannot be foretold. Of those that came together up to [`TOGETHER_MAX`] take the same, so that one system
//! call sends them and one gets their replies. A forged packet still has one chance in ports × IDs for each query; that
//! several queries wait at one port does not help it, since the question must be right too.
//!
//! Under load one wake-up of a lane's receiver reads several replies. Sockets are bounded: one that is used up
//! stays open only until its last query is answered or given up.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rand::RngExt as _;
use tokio::sync::oneshot;

use super::{
    error::{Cause, ExchangeError},
    lane::{Lane, Then},
    message::Query,
    patience::Patience,
};

/// Sockets of one upstream.
const LANES: usize = 16;
/// Queries that one socket is used for; few of 65536 IDs.
const QUERIES_MAX: u32 = 1000;
/// Queries of one batch that take the same socket.
const TOGETHER_MAX: usize = 8;
/// How much later than at its time a wait may end that has no clock of its own.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// The sockets of one upstream.
pub struct Lanes {
    to: SocketAddr,
    source: Option<IpAddr>,
    age_max: Duration,
    slots: [Mutex<Option<Arc<Lane>>>; LANES],
    /// Those that are used up, for as long as somebody waits there.
    leaving: Mutex<Vec<Weak<Lane>>>,
    /// Somebody looks whether a wait is over.
    is_looked_at: AtomicBool,
}

/// Queries that are sent together.
#[derive(Default)]
pub struct Batch(Vec<(Arc<Lanes>, Arc<Lane>)>);

impl Batch {
    /// Sends them.
    pub fn send(&mut self) {
        for (_, lane) in self.0.drain(..) {
            lane.flush();
        }
    }
}

impl Lanes {
    /// None is opened yet.
    pub fn new(to: SocketAddr, source: Option<IpAddr>, age_max: Duration) -> Arc<Self> {
        Arc::new(Lanes {
            to,
            source,
            age_max,
            slots: Default::default(),
            leaving: Mutex::default(),
            is_looked_at: AtomicBool::new(false),
        })
    }

    /// Sends a query and waits for its reply; `is_reused` hears whether the socket was there already.
    pub async fn exchange(
        &self,
        query: &Arc<Query>,
        patience: Patience,
        is_reused: impl FnOnce(bool),
    ) -> Result<Vec<u8>, ExchangeError> {
        let (lane, reused) = self.lane().map_err(|error| self.no_lane(error))?;
        is_reused(reused);
        let (sender, reply) = oneshot::channel();
        let then: Then = Box::new(|reply| {
            // Whoever gave up a moment ago needs no reply.
            let _ = sender.send(reply.map(<[u8]>::to_vec));
        });
        let exchange = async {
            let _ticket = Arc::clone(&lane).send(query, then).await?;
            // The receiver ends after the last ticket only.
            (reply.await).unwrap_or_else(|_| Err(lane.failed("read", Cause::Timeout)))
        };
        (tokio::time::timeout(patience.now(), exchange).await)
            .unwrap_or_else(|_| Err(lane.failed("read", Cause::Timeout)))
    }

    /// The same for a query that is sent with a batch; `then` hears what comes of it, some time after `until` that
    /// nothing came.
    pub fn put(
        self: &Arc<Self>,
        query: &Arc<Query>,
        until: Instant,
        is_reused: impl FnOnce(bool),
        batch: &mut Batch,
        then: Then,
    ) {
        let lane = match self.lane_of(batch) {
            Ok((lane, reused)) => {
                is_reused(reused);
                lane
            }
            Err(error) => return then(Err(self.no_lane(error))),
        };
        if lane.put(query, until, then) {
            batch.0.push((Arc::clone(self), lane));
        }
        if !self.is_looked_at.swap(true, Ordering::SeqCst) {
            tokio::spawn(Arc::clone(self).look());
        }
    }

    /// Ends waits that are over, for as long as somebody waits.
    async fn look(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            let now = Instant::now();
            self.all().iter().for_each(|lane| lane.give_up(now));
            if !self.is_waited_for() {
                self.is_looked_at.store(false, Ordering::SeqCst);
                // Who came between these two lines has not begun to look.
                if !self.is_waited_for() || self.is_looked_at.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
    }

    fn all(&self) -> Vec<Arc<Lane>> {
        let used = self.slots.iter().filter_map(|slot| lock(slot).clone());
        let mut all: Vec<_> = used.collect();
        all.extend(lock(&self.leaving).iter().filter_map(Weak::upgrade));
        all
    }

    fn is_waited_for(&self) -> bool {
        self.all().iter().any(|lane| !lane.is_empty())
    }

    fn no_lane(&self, error: io::Error) -> ExchangeError {
        ExchangeError::Dial {
            network: "udp",
            to: self.to,
            cause: Cause::System("connect", error),
        }
    }

    /// A lane at random for this query and the next ones of its batch.
    fn lane_of(self: &Arc<Self>, batch: &Batch) -> io::Result<(Arc<Lane>, bool)> {
        let mut latest = batch.0.iter().rev();
        if let Some((_, lane)) = latest.find(|(lanes, _)| Arc::ptr_eq(lanes, self))
            && lane.has_room(TOGETHER_MAX)
            && lane.takes_one(QUERIES_MAX, self.age_max)
        {
            return Ok((Arc::clone(lane), true));
        }
        self.lane()
    }

    /// A lane at random, opened anew if it has been used enough.
    fn lane(&self) -> io::Result<(Arc<Lane>, bool)> {
        let slot = &self.slots[rand::rng().random_range(0..LANES)];
        let mut slot = lock(slot);
        if let Some(lane) = &*slot
            && lane.takes_one(QUERIES_MAX, self.age_max)
        {
            return Ok((Arc::clone(lane), true));
        }
        let lane = Arc::new(Lane::open(self.to, self.source)?);
        lane.takes_one(QUERIES_MAX, self.age_max);
        let before = slot.replace(Arc::clone(&lane));
        drop(slot);
        if let Some(before) = before {
            let mut leaving = lock(&self.leaving);
            leaving.retain(|lane| lane.strong_count() > 0);
            leaving.push(Arc::downgrade(&before));
        }
        Ok((lane, false))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn lanes(age_max: Duration) -> Arc<Lanes> {
        // Nothing is sent there.
        Lanes::new("127.0.0.1:9".parse().unwrap(), None, age_max)
    }

    #[tokio::test]
    async fn a_port_has_its_share_of_queries_and_no_more() {
        let lanes = lanes(Duration::from_mins(1));
        let mut queries: HashMap<u16, u32> = HashMap::new();
        let picks = u32::try_from(LANES).unwrap() * QUERIES_MAX * 2;
        for _ in 0..picks {
            let (lane, _) = lanes.lane().unwrap();
            *queries.entry(lane.from().port()).or_default() += 1;
        }
        assert!(queries.len() >= 2 * LANES, "{} ports", queries.len());
        // A port that was closed may come again by chance.
        let more = queries.values().filter(|count| **count > QUERIES_MAX);
        assert!(more.count() <= 1, "{queries:?}");
    }

    #[tokio::test]
    async fn a_batch_takes_as_few_ports_as_it_may() {
        let lanes = lanes(Duration::from_mins(1));
        let query = Arc::new(Query::question(&Name::root(), RecordType::NS, 1, true));
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let mut batch = Batch::default();
            let until = Instant::now();
            for _ in 0..TOGETHER_MAX {
                lanes.put(&query, until, |_| {}, &mut batch, Box::new(|_| {}));
            }
            assert_eq!(batch.0.len(), 1);
            lanes.put(&query, until, |_| {}, &mut batch, Box::new(|_| {}));
            seen.extend(batch.0.iter().map(|(_, lane)| lane.from().port()));
            batch.send();
        }
        // And the next one others.
        assert!(seen.len() >= LANES, "{seen:?}");
    }

    #[tokio::test]
    async fn a_port_that_is_too_old_is_left() {
        let lanes = lanes(Duration::ZERO);
        let kept: Vec<_> = (0..50).map(|_| lanes.lane().unwrap()).collect();
        let ports: HashSet<u16> = kept.iter().map(|(lane, _)| lane.from().port()).collect();
        assert_eq!(ports.len(), 50);
        assert!(kept.iter().all(|(_, is_reused)| !is_reused));
    }
}
