//! One UDP socket: a datagram in, at most one datagram out.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{DropReason, Resolver, Responder, SocketCounters, Transport};

/// No datagram is longer, so none is cut.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// After a failed receive, so that an error that stays does not take a whole core.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// Serves until `stop`; no error of the socket ends it earlier.
///
/// Queries are answered in the receiving task: a lookup never waits.
pub(super) async fn serve(
    socket: UdpSocket,
    responder: Responder,
    resolver: Arc<dyn Resolver>,
    counters: Arc<SocketCounters>,
    stop: CancellationToken,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, client) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "receiving over UDP");
                counters.dropped(DropReason::ReceiveFailed);
                tokio::time::sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        counters.query(Transport::Udp);
        match reply_to(&buffer[..length], client, responder, &*resolver, &counters) {
            Ok(bytes) => {
                if let Err(error) = socket.send_to(&bytes, client).await {
                    tracing::debug!(%client, %error, "sending over UDP");
                    counters.dropped(DropReason::SendFailed);
                }
            }
            Err(reason) => counters.dropped(reason),
        }
    }
}

fn reply_to(
    message: &[u8],
    client: SocketAddr,
    responder: Responder,
    resolver: &dyn Resolver,
    counters: &SocketCounters,
) -> Result<Vec<u8>, DropReason> {
    // Such a packet can be forged, but not answered: no socket has port 0.
    if client.port() == 0 {
        return Err(DropReason::SourcePortZero);
    }
    let reply = responder.respond(message, Transport::Udp, resolver)?;
    counters.answer(&reply);
    Ok(reply.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_to_port_0() {
        let counters = SocketCounters::default();
        let ask = |client: &str| {
            reply_to(
                &[0; 12],
                client.parse().unwrap(),
                Responder::default(),
                &|_: &_, _| None,
                &counters,
            )
        };
        assert_eq!(ask("192.0.2.1:0"), Err(DropReason::SourcePortZero));
        assert!(ask("192.0.2.1:1").is_ok());
    }
}
