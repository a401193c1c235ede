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
//! generator that cannot be foretold. So a forged packet still has one chance in ports × IDs for each query; that
//! several queries wait at one port does not help it, since the question must be right too.
//!
//! Under load one wake-up of a lane's receiver reads several replies. Sockets are bounded: one that is used up
//! stays open only until its last query is answered or given up.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rand::RngExt as _;
use tokio::{net::UdpSocket, sync::oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::{
    error::{Cause, ExchangeError},
    message::Query,
    patience::Patience,
};

/// Sockets of one upstream.
const LANES: usize = 16;
/// Queries that one socket is used for; few of 65536 IDs.
const QUERIES_MAX: u32 = 1000;
/// More than we ask for: who sends more is cut off, which counts as truncated.
const REPLY_BYTES_MAX: usize = 4096;
/// After a failed receive, so that an error that stays does not take a whole core.
const RECEIVE_PAUSE: Duration = Duration::from_millis(1);

/// The sockets of one upstream.
pub struct Lanes {
    to: SocketAddr,
    source: Option<IpAddr>,
    age_max: Duration,
    slots: [Mutex<Option<Arc<Lane>>>; LANES],
}

/// One socket.
struct Lane {
    socket: Arc<UdpSocket>,
    from: SocketAddr,
    opened: Instant,
    queries: AtomicU32,
    waiting: Arc<Mutex<Waiting>>,
    /// Ends with the last query that holds the lane.
    _receiver: AbortOnDropHandle<()>,
}

/// Who waits for which ID.
type Waiting = HashMap<u16, Waiter>;

struct Waiter {
    query: Arc<Query>,
    reply: oneshot::Sender<io::Result<Vec<u8>>>,
}

/// The place of one query at its lane.
struct Ticket {
    lane: Arc<Lane>,
    id: u16,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.lane.waiting).remove(&self.id);
    }
}

impl Lanes {
    /// None is opened yet.
    pub fn new(to: SocketAddr, source: Option<IpAddr>, age_max: Duration) -> Self {
        Lanes {
            to,
            source,
            age_max,
            slots: Default::default(),
        }
    }

    /// Sends a query and waits for its reply; `is_reused` hears whether the socket was there already.
    pub async fn exchange(
        &self,
        query: &Arc<Query>,
        patience: Patience,
        is_reused: impl FnOnce(bool),
    ) -> Result<Vec<u8>, ExchangeError> {
        let (lane, reused) = self.lane().map_err(|error| ExchangeError::Dial {
            network: "udp",
            to: self.to,
            cause: Cause::System("connect", error),
        })?;
        is_reused(reused);
        let from = lane.from;
        let failed = |operation, cause| ExchangeError::Transfer {
            operation,
            network: "udp",
            from,
            to: self.to,
            cause,
        };
        let (ticket, reply) = lane.board(query);
        let message = query.with_id(ticket.id, 0);
        let socket = &ticket.lane.socket;
        let exchange = async {
            let sent = match socket.send(&message).await {
                // It may be what became of an earlier packet, and is told once.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    socket.send(&message).await
                }
                sent => sent,
            };
            sent.map_err(|error| failed("write", Cause::System("write", error)))?;
            match reply.await {
                Ok(reply) => reply.map_err(|error| failed("read", Cause::System("read", error))),
                // The receiver ends after the last ticket only.
                Err(_) => Err(failed("read", Cause::Timeout)),
            }
        };
        (tokio::time::timeout(patience.now(), exchange).await)
            .unwrap_or_else(|_| Err(failed("read", Cause::Timeout)))
    }

    /// A lane at random, opened anew if it has been used enough.
    fn lane(&self) -> io::Result<(Arc<Lane>, bool)> {
        let slot = &self.slots[rand::rng().random_range(0..LANES)];
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = &*slot
            && lane.queries.fetch_add(1, Relaxed) < QUERIES_MAX
            && lane.opened.elapsed() < self.age_max
        {
            return Ok((Arc::clone(lane), true));
        }
        let lane = Arc::new(Lane::open(self.to, self.source)?);
        *slot = Some(Arc::clone(&lane));
        Ok((lane, false))
    }
}

impl Lane {
    fn open(to: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let any = match to {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = std::net::UdpSocket::bind((source.unwrap_or(any), 0))?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let from = socket.local_addr()?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let waiting = Arc::default();
        let receiver = tokio::spawn(receive(Arc::clone(&socket), Arc::clone(&waiting)));
        Ok(Lane {
            socket,
            from,
            opened: Instant::now(),
            queries: AtomicU32::new(1),
            waiting,
            _receiver: AbortOnDropHandle::new(receiver),
        })
    }

    /// A free ID at random, which the query has until the ticket is dropped.
    fn board(
        self: Arc<Self>,
        query: &Arc<Query>,
    ) -> (Ticket, oneshot::Receiver<io::Result<Vec<u8>>>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        // At most QUERIES_MAX are taken, so this ends soon.
        let id = loop {
            let id = rand::rng().random();
            if !waiting.contains_key(&id) {
                break id;
            }
        };
        waiting.insert(
            id,
            Waiter {
                query: Arc::clone(query),
                reply: sender,
            },
        );
        drop(waiting);
        (Ticket { lane: self, id }, receiver)
    }
}

/// Brings replies to those who wait for them; the rest is discarded, and the wait goes on.
async fn receive(socket: Arc<UdpSocket>, waiting: Arc<Mutex<Waiting>>) {
    let mut buffer = vec![0; REPLY_BYTES_MAX];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => deliver(&buffer[..length], &waiting),
            Err(error) => {
                // Nobody listens there: it concerns all of them.
                for (_, waiter) in lock(&waiting).drain() {
                    let error = match error.raw_os_error() {
                        Some(number) => io::Error::from_raw_os_error(number),
                        None => error.kind().into(),
                    };
                    // Whoever gave up needs no error.
                    let _ = waiter.reply.send(Err(error));
                }
                tokio::time::sleep(RECEIVE_PAUSE).await;
            }
        }
    }
}

fn deliver(message: &[u8], waiting: &Mutex<Waiting>) {
    let &[high, low, ..] = message else { return };
    let id = u16::from_be_bytes([high, low]);
    let mut waiting = lock(waiting);
    if waiting
        .get(&id)
        .is_some_and(|waiter| waiter.query.is_answered_by(id, message))
        && let Some(waiter) = waiting.remove(&id)
    {
        drop(waiting);
        // Whoever gave up a moment ago needs no reply.
        let _ = waiter.reply.send(Ok(message.to_vec()));
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn lanes(age_max: Duration) -> Lanes {
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
            *queries.entry(lane.from.port()).or_default() += 1;
        }
        assert!(queries.len() >= 2 * LANES, "{} ports", queries.len());
        // A port that was closed may come again by chance.
        let more = queries.values().filter(|count| **count > QUERIES_MAX);
        assert!(more.count() <= 1, "{queries:?}");
    }

    #[tokio::test]
    async fn a_port_that_is_too_old_is_left() {
        let lanes = lanes(Duration::ZERO);
        let kept: Vec<_> = (0..50).map(|_| lanes.lane().unwrap()).collect();
        let ports: HashSet<u16> = kept.iter().map(|(lane, _)| lane.from.port()).collect();
        assert_eq!(ports.len(), 50);
        assert!(kept.iter().all(|(_, is_reused)| !is_reused));
    }

    #[tokio::test]
    async fn every_query_at_a_port_has_its_id() {
        let lane = Arc::new(Lane::open("127.0.0.1:9".parse().unwrap(), None).unwrap());
        let query = Arc::new(Query::question(&Name::root(), RecordType::NS, 1, true));
        let aboard: Vec<_> = (0..QUERIES_MAX)
            .map(|_| Arc::clone(&lane).board(&query))
            .collect();
        let ids: HashSet<u16> = aboard.iter().map(|(ticket, _)| ticket.id).collect();
        assert_eq!(ids.len(), aboard.len());
        // Spread over all that there are: by chance in each sixteenth of them.
        let parts: HashSet<u16> = ids.iter().map(|id| id >> 12).collect();
        assert_eq!(parts.len(), 16);
        drop(aboard);
        assert!(lock(&lane.waiting).is_empty());
    }
}
