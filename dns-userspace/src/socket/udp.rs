//! One UDP socket: a datagram in, at most one datagram out.

use std::{future::Future as _, net::SocketAddr, sync::Arc, task, time::Duration};

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{DropReason, Path, Service, SocketCounters, Transport, answer};

/// No datagram is longer, so none is cut.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// After a failed receive, so that an error that stays does not take a whole core.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// What the answer to a datagram needs.
struct Context {
    socket: UdpSocket,
    local: SocketAddr,
    service: Arc<dyn Service>,
    counters: Arc<SocketCounters>,
}

/// Serves until `stop`; no error of the socket ends it earlier.
///
/// What can be answered at once is answered in the receiving task; what has to wait does so in a task of its own.
pub(super) async fn serve(
    socket: UdpSocket,
    local: SocketAddr,
    service: Arc<dyn Service>,
    counters: Arc<SocketCounters>,
    stop: CancellationToken,
) {
    let context = Arc::new(Context {
        socket,
        local,
        service,
        counters,
    });
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = context.socket.recv_from(&mut buffer) => received,
        };
        let (length, client) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "receiving over UDP");
                context.counters.dropped(DropReason::ReceiveFailed);
                tokio::time::sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        context.counters.query(Transport::Udp);
        let message = buffer[..length].to_vec();
        let mut reply = Box::pin(Arc::clone(&context).reply_to(message, client));
        let poll = std::future::poll_fn(|cx| task::Poll::Ready(reply.as_mut().poll(cx))).await;
        if poll.is_pending() {
            tokio::spawn(reply);
        }
    }
}

impl Context {
    async fn reply_to(self: Arc<Self>, message: Vec<u8>, client: SocketAddr) {
        // Such a packet can be forged, but not answered: no socket has port 0.
        if client.port() == 0 {
            self.counters.dropped(DropReason::SourcePortZero);
            return;
        }
        let path = Path {
            client,
            local: self.local,
            transport: Transport::Udp,
        };
        match answer(&message, path, &*self.service).await {
            Ok(reply) => {
                self.counters.answer(&reply);
                if let Err(error) = self.socket.send_to(&reply.bytes, client).await {
                    tracing::debug!(%client, %error, "sending over UDP");
                    self.counters.dropped(DropReason::SendFailed);
                }
            }
            Err(reason) => self.counters.dropped(reason),
        }
    }
}
