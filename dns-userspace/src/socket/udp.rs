//! UDP: a datagram in, at most one datagram out.
//!
//! An address has a socket for each core (`SO_REUSEPORT`), so that no lock and no queue is shared between cores.
//! Datagrams come in batches, each with the address of ours that it was sent to: the reply leaves
//! from that one (RFC 2181 section 4), also where the socket listens at all addresses.
//!
//! What is known at once takes no memory: the reply is written where that of an earlier batch was, and all of a batch
//! leave together.

use std::{
    array,
    future::Future as _,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket};
use tokio_util::sync::CancellationToken;

use super::{DropReason, Path, Service, SocketCounters, Transport, answer, glance, outbox::Outbox};

/// No datagram is longer, so none is cut.
const BUFFER_BYTES: usize = 65_535;
/// Nothing is sent from there (RFC 863).
const DISCARD_PORT: u16 = 9;
/// For datagrams that the system is putting into a socket that takes no more.
const LAST_PAUSE: Duration = Duration::from_millis(5);
/// After a failed receive, so that an error that stays does not take a whole core.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// One of the sockets of an address.
#[derive(Debug)]
pub(super) struct Endpoint {
    socket: UdpSocket,
    state: UdpSocketState,
    /// The address that it is bound to.
    local: SocketAddr,
}

impl Endpoint {
    /// Prepares a bound socket.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // With it, a device with GRO merges queries of one client for this socket before any program sees them
        // (`udp_gro_receive` looks the socket up), and what is merged the kernel's programs have to pass.
        setsockopt(&socket, UdpGroSegment, &false)?;
        Ok(Endpoint {
            state,
            local: socket.local_addr()?,
            socket,
        })
    }

    async fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let receive = || self.state.recv((&self.socket).into(), buffers, metas);
        self.socket.async_io(Interest::READABLE, receive).await
    }

    /// Where one that was sent to this address of ours is answered from, if there is a choice.
    fn from(&self, local: IpAddr) -> Option<IpAddr> {
        self.local.ip().is_unspecified().then_some(local)
    }

    /// What is there already.
    fn receive_now(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv((&self.socket).into(), buffers, metas)
    }

    /// Takes no more queries: those to come are for other sockets at the same port. A connected socket gets
    /// only what its peer sends, and from port 9 of ours nothing comes.
    fn retire(&self) {
        let nobody = SocketAddr::new(self.local.ip(), DISCARD_PORT);
        if let Err(error) = SockRef::from(&self.socket).connect(&nobody.into()) {
            tracing::debug!(%error, "retiring a UDP socket");
        }
    }

    async fn send(&self, path: Path, message: &[u8]) -> io::Result<()> {
        let transmit = Transmit {
            destination: path.client,
            ecn: None,
            contents: message,
            segment_size: None,
            src_ip: Some(path.local.ip()),
        };
        let send = || self.state.try_send((&self.socket).into(), &transmit);
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// Sends all, and says how many could not be sent.
    async fn send_all(&self, outbox: &mut Outbox) -> usize {
        let (mut done, mut failed) = (0, 0);
        while done < outbox.len() {
            let send = || outbox.send(self.socket.as_fd(), done);
            match self.socket.async_io(Interest::WRITABLE, send).await {
                Ok(sent) => done += sent,
                Err(error) => {
                    tracing::debug!(%error, "sending over UDP");
                    done += 1;
                    failed += 1;
                }
            }
        }
        outbox.clear();
        failed
    }
}

/// What the answer to a datagram needs.
struct Context {
    endpoint: Endpoint,
    service: Arc<dyn Service>,
    counters: Arc<SocketCounters>,
}

/// Serves until `stop`, and what has come until then; no error of the socket ends it earlier.
///
/// What can be answered at once is answered in the receiving task; what has to wait does so in a task of its own.
pub(super) async fn serve(
    endpoint: Endpoint,
    service: Arc<dyn Service>,
    counters: Arc<SocketCounters>,
    stop: CancellationToken,
) {
    let context = Arc::new(Context {
        endpoint,
        service,
        counters,
    });
    let mut memory = vec![0; BATCH_SIZE * BUFFER_BYTES];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let mut outbox = Outbox::default();
    // When what was on its way to the socket has come.
    let mut last: Option<Instant> = None;
    loop {
        let mut parts = memory.chunks_mut(BUFFER_BYTES);
        let mut buffers: [_; BATCH_SIZE] =
            array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => {
                let last = match last {
                    None => {
                        context.endpoint.retire();
                        *last.insert(Instant::now() + LAST_PAUSE)
                    }
                    Some(last) => last,
                };
                match context.endpoint.receive_now(&mut buffers, &mut metas) {
                    Ok(count) => Ok(count),
                    Err(_) if Instant::now() > last => return,
                    Err(_) => {
                        tokio::time::sleep(LAST_PAUSE).await;
                        continue;
                    }
                }
            }
            received = context.endpoint.receive(&mut buffers, &mut metas) => received,
        };
        let count = match received {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "receiving over UDP");
                context.counters.dropped(DropReason::ReceiveFailed);
                tokio::time::sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        for (buffer, meta) in memory.chunks(BUFFER_BYTES).zip(&metas[..count]) {
            let (message, path) = (&buffer[..meta.len], context.path(meta));
            if !context.glance(message, path, &mut outbox) {
                context.take(message, path).await;
            }
        }
        for _ in 0..context.endpoint.send_all(&mut outbox).await {
            context.counters.dropped(DropReason::SendFailed);
        }
    }
}

impl Context {
    fn path(&self, meta: &RecvMeta) -> Path {
        let local = self.endpoint.local;
        Path {
            client: meta.addr,
            local: SocketAddr::new(meta.dst_ip.unwrap_or(local.ip()), local.port()),
            transport: Transport::Udp,
        }
    }

    /// Answers one datagram with the others of its batch, if that is known at once.
    fn glance(&self, message: &[u8], path: Path, outbox: &mut Outbox) -> bool {
        // Such a packet can be forged, but not answered: no socket has port 0.
        if path.client.port() == 0 {
            return false;
        }
        let Some(sent) = glance(message, path, &*self.service, outbox.blank()) else {
            return false;
        };
        self.counters.query(Transport::Udp);
        self.counters.answer(sent);
        outbox.put(path.client, self.endpoint.from(path.local.ip()));
        true
    }

    /// Answers one datagram, here if that needs no waiting.
    async fn take(self: &Arc<Self>, message: &[u8], path: Path) {
        self.counters.query(Transport::Udp);
        let mut reply = Box::pin(Arc::clone(self).reply_to(message.to_vec(), path));
        let poll = std::future::poll_fn(|cx| Poll::Ready(reply.as_mut().poll(cx))).await;
        if poll.is_pending() {
            tokio::spawn(reply);
        }
    }

    async fn reply_to(self: Arc<Self>, message: Vec<u8>, path: Path) {
        let client = path.client;
        if client.port() == 0 {
            self.counters.dropped(DropReason::SourcePortZero);
            return;
        }
        match answer(&message, path, &*self.service).await {
            Ok(reply) => {
                self.counters.answer(reply.sent());
                if let Err(error) = self.endpoint.send(path, &reply.bytes).await {
                    tracing::debug!(%client, %error, "sending over UDP");
                    self.counters.dropped(DropReason::SendFailed);
                }
            }
            Err(reason) => self.counters.dropped(reason),
        }
    }
}
