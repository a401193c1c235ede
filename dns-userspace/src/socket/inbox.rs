//! Datagrams that came together: one system call for several.

use std::io::{self, IoSliceMut};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// Waits for datagrams; how many came, at most one for each buffer, and at most [`BATCH_SIZE`].
///
/// # Errors
///
/// What the socket met, such as what became of a datagram that was sent.
pub async fn receive(
    socket: &UdpSocket,
    state: &UdpSocketState,
    buffers: &mut [IoSliceMut<'_>],
    metas: &mut [RecvMeta],
) -> io::Result<usize> {
    let room = buffers.len().min(BATCH_SIZE);
    loop {
        // An error without a datagram, such as that nobody listens where one was sent, makes nothing readable.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        // `try_io` knows no more than one at a time.
        let interest = if ready.is_readable() {
            Interest::READABLE
        } else {
            Interest::ERROR
        };
        let mut received = 0;
        let tried = socket.try_io(interest, || {
            received = state.recv(socket.into(), buffers, metas)?;
            // There are no more, which need not be asked for by another system call: the next one that comes is an event of
            // its own (edge-triggered, epoll(7)).
            if received < room {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        match tried {
            _ if received > 0 => return Ok(received),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}
