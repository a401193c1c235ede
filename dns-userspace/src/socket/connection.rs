//! One connection over TCP, in plain or within TLS ([`channel`](super::channel)).
//!
//! ```text
//! bytes ──▶ messages ──▶ known at once ────────────▶ replies ──▶ bytes
//!                   └──▶ asked for, each by itself ──▶┘          in the order in which they are ready
//! ```
//!
//! A client may send its next query before it has a reply, and gets replies in another order than its queries (RFC 7766
//! sections 6.2.1.1 and 7). It is not read from while [`QUERIES_MAX`] of its queries are being asked for, or while it has
//! not taken [`OUTGOING_BYTES_MAX`] of replies: so what it costs is bounded, and a client that does not read is at
//! some time cut off for that.
//!
//! While nothing comes, a connection has no buffers.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::Interest,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{DropReason, Encoded, Path, Transport, answer, channel::Channel, glance, tcp::Context};

/// Queries of one connection that are asked for at a time.
const QUERIES_MAX: usize = 32;
/// Replies that wait for the client, before it is read from again.
const OUTGOING_BYTES_MAX: usize = 65_536;
/// Before each message.
const PREFIX_BYTES: usize = 2;

/// A client's connection.
pub(super) struct Connection<'a> {
    channel: Channel,
    path: Path,
    context: &'a Context,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// How many bytes of `outgoing` are sent.
    sent: usize,
    answers: JoinSet<Result<Encoded, DropReason>>,
    /// Queries that are answered yet.
    queries_left: usize,
    /// Nothing more is read.
    ends: bool,
    /// When it is cut off.
    deadline: Instant,
}

impl<'a> Connection<'a> {
    /// One that was just accepted.
    pub fn new(channel: Channel, client: SocketAddr, context: &'a Context) -> Self {
        Connection {
            channel,
            path: Path {
                client,
                local: context.local,
                transport: Transport::Tcp,
            },
            context,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            answers: JoinSet::new(),
            queries_left: context.limits.queries.unwrap_or(usize::MAX),
            ends: false,
            deadline: Instant::now() + context.limits.read,
        }
    }

    /// Answers until the client closes (`Ok`) or is cut off.
    pub async fn serve(mut self) -> Result<(), DropReason> {
        let served = self.run().await;
        self.channel.close();
        served
    }

    async fn run(&mut self) -> Result<(), DropReason> {
        loop {
            self.take_messages()?;
            self.write()?;
            let (is_read, is_written) = (!self.ends && self.has_room(), self.is_sending());
            if self.ends && !is_written && self.answers.is_empty() {
                return Ok(());
            }
            let interest = match (is_read, is_written) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::READABLE,
                _ => Interest::WRITABLE,
            };
            tokio::select! {
                () = self.context.stop.cancelled(), if !self.ends => self.ends = true,
                Some(answer) = self.answers.join_next() => {
                    self.wait_anew();
                    match answer {
                        Ok(Ok(reply)) => self.reply(&reply)?,
                        Ok(Err(reason)) => self.context.counters.dropped(reason),
                        // It panicked, and has told so.
                        Err(_) => self.context.counters.dropped(DropReason::Silenced),
                    }
                }
                ready = self.channel.ready(interest), if is_read || is_written => {
                    ready.map_err(|error| self.failed(&error, DropReason::ReceiveFailed))?;
                    if is_read {
                        self.read()?;
                    }
                }
                // Who waits for an upstream waits for us.
                () = sleep_until(self.deadline) => match self.answers.len() {
                    0 => return Err(DropReason::Idle),
                    _ => self.wait_anew(),
                },
            }
        }
    }

    fn has_room(&self) -> bool {
        self.answers.len() < QUERIES_MAX && self.outgoing.len() < OUTGOING_BYTES_MAX
    }

    fn is_sending(&self) -> bool {
        self.sent < self.outgoing.len() || self.channel.is_sending()
    }

    /// The client has done what it can be expected to.
    fn wait_anew(&mut self) {
        let limits = self.context.limits;
        self.deadline = Instant::now()
            + if self.is_sending() {
                limits.write
            } else {
                limits.idle
            };
    }

    /// Reads what is there.
    fn read(&mut self) -> Result<(), DropReason> {
        match self.channel.read(&mut self.incoming) {
            Ok(is_more) => self.ends |= !is_more,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(self.failed(&error, DropReason::Tls));
            }
            Err(error) => return Err(self.failed(&error, DropReason::ReceiveFailed)),
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        Ok(())
    }

    /// Answers the messages that are whole, however their bytes were cut into segments.
    fn take_messages(&mut self) -> Result<(), DropReason> {
        let incoming = std::mem::take(&mut self.incoming);
        let mut rest = &incoming[..];
        let mut reply = Vec::new();
        while self.has_room()
            && self.queries_left > 0
            && let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX_BYTES>()
        {
            let length = usize::from(u16::from_be_bytes(*prefix));
            if length > self.context.limits.query_bytes {
                return Err(DropReason::TooLong);
            }
            let Some((message, behind)) = behind.split_at_checked(length) else {
                break;
            };
            rest = behind;
            self.queries_left -= 1;
            self.ends |= self.queries_left == 0;
            self.wait_anew();
            self.context.counters.query(Transport::Tcp);
            if let Some(sent) = glance(message, self.path, &*self.context.service, &mut reply) {
                self.context.counters.answer(sent);
                self.put(&reply)?;
            } else {
                let (message, path) = (message.to_vec(), self.path);
                let service = Arc::clone(&self.context.service);
                let asked = async move { answer(&message, path, &*service).await };
                self.answers.spawn(asked);
            }
        }
        if rest.len() == incoming.len() {
            self.incoming = incoming;
        } else {
            // With memory for as much as is left, which mostly is nothing.
            self.incoming = rest.to_vec();
        }
        Ok(())
    }

    fn reply(&mut self, reply: &Encoded) -> Result<(), DropReason> {
        self.context.counters.answer(reply.sent());
        let mut messages = std::iter::once(&reply.bytes).chain(&reply.further);
        messages.try_for_each(|message| self.put(message))
    }

    /// Prefix and message, which leave in one write (RFC 7766 section 8).
    fn put(&mut self, message: &[u8]) -> Result<(), DropReason> {
        let length = u16::try_from(message.len()).map_err(|_| DropReason::SendFailed)?;
        self.outgoing.extend_from_slice(&length.to_be_bytes());
        self.outgoing.extend_from_slice(message);
        Ok(())
    }

    /// Sends as much as the client takes.
    fn write(&mut self) -> Result<(), DropReason> {
        while self.sent < self.outgoing.len() {
            match self.channel.write(&self.outgoing[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.failed(&error, DropReason::SendFailed)),
            }
        }
        match self.channel.flush() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(self.failed(&error, DropReason::SendFailed)),
        }
        if self.sent > 0 {
            (self.outgoing, self.sent) = (Vec::new(), 0);
            self.wait_anew();
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error, reason: DropReason) -> DropReason {
        tracing::debug!(client = %self.path.client, %error, "over TCP");
        reason
    }
}
