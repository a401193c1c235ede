//! A socket, who waits at it, and what is yet to be sent from it.

use std::{
    array,
    collections::HashMap,
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use quinn_udp::{RecvMeta, UdpSocketState};
use rand::RngExt as _;
use tokio::net::UdpSocket;

use super::{
    super::{
        error::{Cause, ExchangeError},
        message::Query,
    },
    Lane, Then,
};
use crate::socket::{Outbox, inbox};

/// More than we ask for: who sends more is cut off, which counts as truncated.
const REPLY_BYTES_MAX: usize = 4096;
/// Replies of one system call.
const REPLIES_MAX: usize = 16;
/// After a failed receive, so that an error that stays does not take a whole core.
const RECEIVE_PAUSE: Duration = Duration::from_millis(1);

/// What sender and receiver share.
pub(super) struct Port {
    pub(super) socket: UdpSocket,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) waiting: Mutex<HashMap<u16, Waiter>>,
    pub(super) outbox: Mutex<Outbox>,
}

pub(super) struct Waiter {
    pub(super) query: Arc<Query>,
    pub(super) then: Then,
    /// Of who does not look at the clock himself: until when he waits, and the lane, which stays open for him.
    pub(super) ahead: Option<(Instant, Arc<Lane>)>,
}

impl Port {
    pub(super) fn failed(&self, operation: &'static str, cause: Cause) -> ExchangeError {
        ExchangeError::Transfer {
            operation,
            network: "udp",
            from: self.from,
            to: self.to,
            cause,
        }
    }

    /// A free ID at random.
    pub(super) fn board(&self, waiter: Waiter) -> u16 {
        let mut waiting = lock(&self.waiting);
        // A small part of them is taken, so this ends soon.
        let id = loop {
            let id = rand::rng().random();
            if !waiting.contains_key(&id) {
                break id;
            }
        };
        waiting.insert(id, waiter);
        id
    }

    /// Sends all; who asks what cannot be sent is told.
    ///
    /// # Errors
    ///
    /// The socket takes no more now.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut outbox = lock(&self.outbox);
        let (mut done, mut refused, mut failed) = (0, None, Vec::new());
        while done < outbox.len() {
            match outbox.send(self.socket.as_fd(), done) {
                Ok(count) => done += count,
                // It is what became of an earlier packet, and is told once.
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused && refused.is_none() =>
                {
                    let unsent: Vec<u16> = (done..outbox.len())
                        .filter_map(|at| id_of(outbox.message(at)))
                        .collect();
                    refused = Some((self.leave(&unsent), error));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    failed.extend(id_of(outbox.message(done)).map(|id| (id, error)));
                    done += 1;
                }
            }
        }
        outbox.remove(done);
        let is_all = outbox.len() == 0;
        drop(outbox);
        if let Some((waiters, error)) = refused {
            self.tell(waiters, &error);
        }
        for (id, error) in failed {
            let waiter = lock(&self.waiting).remove(&id);
            if let Some(waiter) = waiter {
                (waiter.then)(Err(self.failed("write", Cause::System("write", error))));
            }
        }
        if is_all {
            Ok(())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// All who wait, but for these IDs, wait no longer.
    pub(super) fn leave(&self, but: &[u16]) -> Vec<Waiter> {
        let mut waiting = lock(&self.waiting);
        let left = waiting.extract_if(|id, _| !but.contains(id));
        left.map(|(_, waiter)| waiter).collect()
    }

    /// Nobody listens there: it concerns all of them.
    pub(super) fn tell(&self, waiters: Vec<Waiter>, error: &io::Error) {
        for waiter in waiters {
            let error = match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => error.kind().into(),
            };
            (waiter.then)(Err(self.failed("read", Cause::System("read", error))));
        }
    }

    /// Whoever waits for this message.
    fn take(&self, message: &[u8]) -> Option<Waiter> {
        let id = id_of(message)?;
        let mut waiting = lock(&self.waiting);
        let waiter = waiting.get(&id)?;
        if !waiter.query.is_answered_by(id, message) {
            return None;
        }
        waiting.remove(&id)
    }
}

/// Brings replies to those who wait for them; the rest is discarded, and the wait goes on.
pub(super) async fn receive(port: Arc<Port>, state: UdpSocketState) {
    let mut memory = vec![0; REPLIES_MAX * REPLY_BYTES_MAX];
    let mut metas = [RecvMeta::default(); REPLIES_MAX];
    loop {
        let mut parts = memory.chunks_mut(REPLY_BYTES_MAX);
        let mut buffers: [_; REPLIES_MAX] =
            array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        let count = match inbox::receive(&port.socket, &state, &mut buffers, &mut metas).await {
            Ok(count) => count,
            Err(error) => {
                port.tell(port.leave(&[]), &error);
                tokio::time::sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        for (buffer, meta) in memory.chunks(REPLY_BYTES_MAX).zip(&metas[..count]) {
            let message = &buffer[..meta.len];
            if let Some(waiter) = port.take(message) {
                (waiter.then)(Ok(message));
            }
        }
    }
}

fn id_of(message: &[u8]) -> Option<u16> {
    message.first_chunk().map(|id| u16::from_be_bytes(*id))
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
