//! UDP: a datagram in, at most one datagram out.
//!
//! An address has a socket for each core (`SO_REUSEPORT`), so that no lock and no queue is shared between cores.
//! Datagrams come in batches, each with the address of ours that it was sent to: the reply leaves
//! from that one (RFC 2181 section 4), also where the socket listens at all addresses.
//!
//! What is known at once takes no memory: the reply is written where that of an earlier batch was. All replies of a
//! batch leave together, and so do those that come later, with those that come at the same time. What upstreams are to
//! be asked leaves together, too.

use std::{
    array,
    future::Future,
    io::{self, IoSliceMut},
    mem,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket, sync::Notify};
use tokio_util::sync::CancellationToken;

use super::{
    DropReason, Known, Path, Sent, Service, SocketCounters, Transport, answer_landed, glance,
    inbox, outbox::Outbox,
};
use crate::plugin::forward::{Batch, Landed};

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
        inbox::receive(&self.socket, &self.state, buffers, metas).await
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

    /// Sends all, and says how many could not be sent.
    async fn send_all(&self, outbox: &mut Outbox) -> usize {
        let (mut done, mut failed) = (0, 0);
        while done < outbox.len() {
            let send = || outbox.send(self.socket.as_fd(), done);
            match self.socket.async_io(Interest::WRITABLE, send).await {
                Ok(count) => done += count,
                Err(error) => {
                    tracing::debug!(%error, "sending over UDP");
                    done += 1;
                    failed += 1;
                }
            }
        }
        outbox.remove(done);
        failed
    }
}

/// What the answer to a datagram needs.
struct Context {
    endpoint: Endpoint,
    service: Arc<dyn Service>,
    counters: Arc<SocketCounters>,
    late: Late,
}

/// Replies to queries that had to wait.
#[derive(Default)]
struct Late {
    replies: Mutex<Vec<(Path, Vec<u8>)>>,
    are_there: Notify,
}

impl Late {
    fn push(&self, path: Path, reply: Vec<u8>) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = replies.is_empty();
        replies.push((path, reply));
        drop(replies);
        if is_first {
            self.are_there.notify_one();
        }
    }

    /// Those of now, in exchange for memory.
    fn take(&self, memory: &mut Vec<(Path, Vec<u8>)>) {
        memory.clear();
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut *replies, memory);
    }
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
        late: Late::default(),
    });
    let mut memory = vec![0; BATCH_SIZE * BUFFER_BYTES];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let (mut outbox, mut ahead, mut late) = (Outbox::default(), Batch::default(), Vec::new());
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
            () = context.late.are_there.notified() => {
                // Who else is to run now may have more of them.
                tokio::task::yield_now().await;
                Ok(0)
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
            if !context.glance(message, path, &mut outbox, &mut ahead) {
                context.take(message, path, &mut outbox).await;
            }
        }
        ahead.send();
        context.late.take(&mut late);
        for (path, reply) in late.drain(..) {
            context.put(path, reply, &mut outbox);
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

    /// Answers one datagram with the others of its batch, or asks an upstream with the others, if that can be done at once.
    fn glance(
        self: &Arc<Self>,
        message: &[u8],
        path: Path,
        outbox: &mut Outbox,
        ahead: &mut Batch,
    ) -> bool {
        // Such a packet can be forged, but not answered: no socket has port 0.
        if path.client.port() == 0 {
            return false;
        }
        match glance(message, path, &*self.service, outbox.blank()) {
            Known::Reply(rcode) => {
                self.counters.query(Transport::Udp);
                self.counters.answer(Sent::whole(rcode));
                outbox.put(Some(path.client), self.endpoint.from(path.local.ip()));
            }
            Known::Ahead(query) => {
                self.counters.query(Transport::Udp);
                let (context, message) = (Arc::clone(self), message.to_vec());
                query.send(ahead, move |landed| context.land(message, path, landed));
            }
            Known::Nothing => return false,
        }
        true
    }

    /// An upstream was asked ahead: answers, mostly at once.
    fn land(self: Arc<Self>, message: Vec<u8>, path: Path, landed: Landed) {
        let mut reply = Box::pin(Arc::clone(&self).reply_to(message, path, landed));
        match (&mut reply).now_or_never() {
            Some(Some(reply)) => self.late.push(path, reply),
            Some(None) => {}
            None => self.answer_later(path, reply),
        }
    }

    fn answer_later(
        self: Arc<Self>,
        path: Path,
        reply: impl Future<Output = Option<Vec<u8>>> + Send + 'static,
    ) {
        tokio::spawn(async move {
            if let Some(reply) = reply.await {
                self.late.push(path, reply);
            }
        });
    }

    /// Answers one datagram, with the others of its batch if that needs no waiting.
    async fn take(self: &Arc<Self>, message: &[u8], path: Path, outbox: &mut Outbox) {
        self.counters.query(Transport::Udp);
        let landed = Landed::default();
        let mut reply = Box::pin(Arc::clone(self).reply_to(message.to_vec(), path, landed));
        match std::future::poll_fn(|cx| Poll::Ready(reply.as_mut().poll(cx))).await {
            Poll::Ready(Some(reply)) => self.put(path, reply, outbox),
            Poll::Ready(None) => {}
            Poll::Pending => Arc::clone(self).answer_later(path, reply),
        }
    }

    fn put(&self, path: Path, reply: Vec<u8>, outbox: &mut Outbox) {
        *outbox.blank() = reply;
        outbox.put(Some(path.client), self.endpoint.from(path.local.ip()));
    }

    async fn reply_to(
        self: Arc<Self>,
        message: Vec<u8>,
        path: Path,
        landed: Landed,
    ) -> Option<Vec<u8>> {
        if path.client.port() == 0 {
            self.counters.dropped(DropReason::SourcePortZero);
            return None;
        }
        match answer_landed(&message, path, &*self.service, landed).await {
            Ok(reply) => {
                self.counters.answer(reply.sent());
                Some(reply.bytes)
            }
            Err(reason) => {
                self.counters.dropped(reason);
                None
            }
        }
    }
}
