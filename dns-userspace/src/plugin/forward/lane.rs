//! One socket to an upstream, and who waits there for which ID.
//!
//! ```text
//! queries ─▶ outbox ─▶ flush: one system call ─▶ upstream
//!    ID ─▶ waiting ◀─ ID, question ─ receive: several at a time ◀─┘
//! ```

mod port;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};
use quinn_udp::UdpSocketState;
use tokio::{io::Interest, net::UdpSocket};
use tokio_util::task::AbortOnDropHandle;

use port::{Port, Waiter, lock, receive};

use super::{
    error::{Cause, ExchangeError},
    message::Query,
};

/// What is done with the reply, or with why there is none.
pub type Then = Box<dyn FnOnce(Result<&[u8], ExchangeError>) + Send>;

/// One socket.
pub struct Lane {
    port: Arc<Port>,
    opened: Instant,
    queries: AtomicU32,
    /// Ends with the last query that holds the lane.
    _receiver: AbortOnDropHandle<()>,
}

/// The place of one query at its lane.
pub struct Ticket {
    lane: Arc<Lane>,
    id: u16,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.lane.port.waiting).remove(&self.id);
    }
}

impl Lane {
    /// A socket with a port at random.
    ///
    /// # Errors
    ///
    /// The system has none, or the upstream cannot be reached.
    pub fn open(to: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let any = match to {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = std::net::UdpSocket::bind((source.unwrap_or(any), 0))?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        // Each datagram is a reply.
        setsockopt(&socket, UdpGroSegment, &false)?;
        let port = Arc::new(Port {
            from: socket.local_addr()?,
            to,
            socket: UdpSocket::from_std(socket)?,
            waiting: Mutex::default(),
            outbox: Mutex::default(),
        });
        let receiver = tokio::spawn(receive(Arc::clone(&port), state));
        Ok(Lane {
            port,
            opened: Instant::now(),
            queries: AtomicU32::new(0),
            _receiver: AbortOnDropHandle::new(receiver),
        })
    }

    /// Our end.
    #[cfg(test)]
    pub fn from(&self) -> SocketAddr {
        self.port.from
    }

    /// One more query; whether the lane may have it.
    pub fn takes_one(&self, queries_max: u32, age_max: Duration) -> bool {
        self.queries.fetch_add(1, Relaxed) < queries_max && self.opened.elapsed() < age_max
    }

    /// Whether fewer queries than that are yet to be sent.
    pub fn has_room(&self, queries_max: usize) -> bool {
        lock(&self.port.outbox).len() < queries_max
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        lock(&self.port.waiting).is_empty()
    }

    /// What a query met here.
    pub fn failed(&self, operation: &'static str, cause: Cause) -> ExchangeError {
        self.port.failed(operation, cause)
    }

    /// Sends a query at once. Who drops the ticket waits no longer.
    ///
    /// # Errors
    ///
    /// It cannot be sent.
    pub async fn send(
        self: Arc<Self>,
        query: &Arc<Query>,
        then: Then,
    ) -> Result<Ticket, ExchangeError> {
        let waiter = Waiter {
            query: Arc::clone(query),
            then,
            ahead: None,
        };
        let ticket = Ticket {
            id: self.port.board(waiter),
            lane: self,
        };
        let message = query.with_id(ticket.id, 0);
        let port = &ticket.lane.port;
        let sent = match port.socket.send(&message).await {
            // It is what became of an earlier packet, and is told once.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                port.tell(port.leave(&[ticket.id]), &error);
                port.socket.send(&message).await
            }
            sent => sent,
        };
        sent.map_err(|error| port.failed("write", Cause::System("write", error)))?;
        Ok(ticket)
    }

    /// Puts a query with others that [`flush`](Self::flush) sends; whether it is the first of them. Who asks waits until
    /// [`give_up`](Self::give_up).
    pub fn put(self: &Arc<Self>, query: &Arc<Query>, until: Instant, then: Then) -> bool {
        let waiter = Waiter {
            query: Arc::clone(query),
            then,
            ahead: Some((until, Arc::clone(self))),
        };
        let id = self.port.board(waiter);
        let mut outbox = lock(&self.port.outbox);
        query.write(id, outbox.blank());
        outbox.put(None, None);
        outbox.len() == 1
    }

    /// Sends what was [`put`](Self::put).
    pub fn flush(&self) {
        if self.port.flush().is_ok() {
            return;
        }
        let port = Arc::clone(&self.port);
        tokio::spawn(async move {
            let socket = &port.socket;
            // What fails is told to who waits.
            let _ = socket.async_io(Interest::WRITABLE, || port.flush()).await;
        });
    }

    /// Ends the wait of those who have waited long enough.
    pub fn give_up(&self, now: Instant) {
        let is_over = |waiter: &mut Waiter| {
            let ahead = waiter.ahead.as_ref();
            ahead.is_some_and(|(until, _)| *until <= now)
        };
        let given_up: Vec<_> = lock(&self.port.waiting)
            .extract_if(|_, waiter| is_over(waiter))
            .collect();
        for (_, waiter) in given_up {
            (waiter.then)(Err(self.failed("read", Cause::Timeout)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    const QUERIES: usize = 1000;

    fn query() -> Arc<Query> {
        Arc::new(Query::question(&Name::root(), RecordType::NS, 1, true))
    }

    #[tokio::test]
    async fn every_query_at_a_port_has_its_id() {
        // Nothing is sent there.
        let lane = Arc::new(Lane::open("127.0.0.1:9".parse().unwrap(), None).unwrap());
        let (query, until) = (query(), Instant::now());
        let mut first = 0;
        for _ in 0..QUERIES {
            first += usize::from(lane.put(&query, until, Box::new(|_| {})));
        }
        assert_eq!(first, 1);
        let ids: HashSet<u16> = lock(&lane.port.waiting).keys().copied().collect();
        assert_eq!(ids.len(), QUERIES);
        // Spread over all that there are: by chance in each sixteenth of them.
        let parts: HashSet<u16> = ids.iter().map(|id| id >> 12).collect();
        assert_eq!(parts.len(), 16);
        lane.give_up(until);
        assert!(lane.is_empty());
    }

    #[tokio::test]
    async fn all_that_were_put_arrive_and_each_gets_its_reply() {
        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let lane = Arc::new(Lane::open(upstream.local_addr().unwrap(), None).unwrap());
        let (sender, mut replies) = tokio::sync::mpsc::unbounded_channel();
        // More than one system call takes.
        for number in 0..100 {
            let name = Name::from_ascii(format!("name-{number}.example.org.")).unwrap();
            let query = Arc::new(Query::question(&name, RecordType::A, 1, true));
            let (sender, until) = (sender.clone(), Instant::now() + Duration::from_secs(4));
            let then = move |reply: Result<&[u8], ExchangeError>| {
                sender.send((number, reply.unwrap().to_vec())).unwrap();
            };
            lane.put(&query, until, Box::new(then));
        }
        lane.flush();
        let mut buffer = [0; 512];
        for _ in 0..100 {
            let (length, from) = upstream.recv_from(&mut buffer).await.unwrap();
            assert_eq!(from.port(), lane.from().port());
            buffer[2] |= 0x80;
            upstream.send_to(&buffer[..length], from).await.unwrap();
        }
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let (number, reply) = replies.recv().await.unwrap();
            let label = format!("name-{number}");
            assert_eq!(reply[13..13 + label.len()], *label.as_bytes());
            seen.insert(number);
        }
        assert_eq!(seen.len(), 100);
        assert!(lane.is_empty());
    }

    #[tokio::test]
    async fn where_nobody_listens_all_are_told_at_once() {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = closed.local_addr().unwrap();
        drop(closed);
        let lane = Arc::new(Lane::open(to, None).unwrap());
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        // Of the first packet the receiver hears, of a later one perhaps the next that is sent.
        for _ in 0..20 {
            for _ in 0..3 {
                let sender = sender.clone();
                let until = Instant::now() + Duration::from_mins(1);
                let then = move |reply: Result<&[u8], ExchangeError>| {
                    sender.send(reply.unwrap_err().to_string()).unwrap();
                };
                lane.put(&query(), until, Box::new(then));
                lane.flush();
            }
            for _ in 0..3 {
                let told = tokio::time::timeout(Duration::from_secs(1), told.recv());
                let told = told.await.unwrap().unwrap();
                assert!(told.contains("connection refused"), "{told}");
            }
        }
        assert!(lane.is_empty());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_so_and_nobody_else() {
        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let lane = Arc::new(Lane::open(upstream.local_addr().unwrap(), None).unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let now = Instant::now();
        for (number, until) in [(1, now), (2, now + Duration::from_mins(1))] {
            let told = Arc::clone(&told);
            let then = move |reply: Result<&[u8], ExchangeError>| {
                lock(&told).push((number, reply.unwrap_err().to_string()));
            };
            lane.put(&query(), until, Box::new(then));
        }
        lane.flush();
        lane.give_up(now);
        let timeout = lane.failed("read", Cause::Timeout).to_string();
        assert_eq!(*lock(&told), [(1, timeout)]);
        assert!(!lane.is_empty());
    }
}
