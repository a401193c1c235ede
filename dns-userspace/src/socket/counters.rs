//! What the socket server counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hickory_proto::op::ResponseCode;
use serde::{Deserialize, Serialize};

use super::{Sent, Transport};

/// Why a message or connection was dropped without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Shorter than a header: there is no ID to reply to.
    Short,
    /// QR=1. Two responders must never talk to each other.
    Response,
    /// From port 0, to which nothing can be sent.
    SourcePortZero,
    /// A plugin keeps silent.
    Silenced,
    /// A TCP length prefix over the limit.
    TooLong,
    /// A TCP connection over the limit in total.
    ConnectionsTotal,
    /// A TCP connection over the limit of its client.
    ConnectionsPerClient,
    /// A TCP client that did not send, or not take, in time.
    Idle,
    /// The operating system refused to receive.
    ReceiveFailed,
    /// The operating system refused to send.
    SendFailed,
    /// A TLS session that could not be made, or was broken.
    Tls,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 11] = [
        Self::Short,
        Self::Response,
        Self::SourcePortZero,
        Self::Silenced,
        Self::TooLong,
        Self::ConnectionsTotal,
        Self::ConnectionsPerClient,
        Self::Idle,
        Self::ReceiveFailed,
        Self::SendFailed,
        Self::Tls,
    ];

    /// The reason's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Response => "response",
            Self::SourcePortZero => "source_port_zero",
            Self::Silenced => "silenced",
            Self::TooLong => "too_long",
            Self::ConnectionsTotal => "connections_total",
            Self::ConnectionsPerClient => "connections_per_client",
            Self::Idle => "idle",
            Self::ReceiveFailed => "receive_failed",
            Self::SendFailed => "send_failed",
            Self::Tls => "tls",
        }
    }
}

/// The RCODEs that we send, in the order of the counters.
const RCODES: [(ResponseCode, &str); 7] = [
    (ResponseCode::NoError, "NOERROR"),
    (ResponseCode::FormErr, "FORMERR"),
    (ResponseCode::ServFail, "SERVFAIL"),
    (ResponseCode::NXDomain, "NXDOMAIN"),
    (ResponseCode::NotImp, "NOTIMP"),
    (ResponseCode::Refused, "REFUSED"),
    (ResponseCode::BADVERS, "BADVERS"),
];

/// Counters since the start, shared by all tasks of the server.
#[derive(Debug, Default)]
pub struct SocketCounters {
    queries: [AtomicU64; 2],
    answers: [AtomicU64; RCODES.len()],
    answers_other: AtomicU64,
    truncated: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    connections: AtomicU64,
}

impl SocketCounters {
    pub(super) fn query(&self, transport: Transport) {
        let index = match transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        };
        self.queries[index].fetch_add(1, Relaxed);
    }

    pub(super) fn answer(&self, reply: Sent) {
        let counter = RCODES
            .iter()
            .position(|(rcode, _)| *rcode == reply.rcode)
            .map_or(&self.answers_other, |index| &self.answers[index]);
        counter.fetch_add(1, Relaxed);
        if reply.truncated {
            self.truncated.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn dropped(&self, reason: DropReason) {
        self.dropped[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// The values of now.
    pub fn snapshot(&self) -> SocketSnapshot {
        let name = |name: &str| name.to_owned();
        SocketSnapshot {
            queries: ["udp", "tcp"]
                .into_iter()
                .map(name)
                .zip(self.queries.iter().map(|counter| counter.load(Relaxed)))
                .collect(),
            answers: RCODES
                .iter()
                .map(|(_, text)| name(text))
                .chain([name("other")])
                .zip(
                    self.answers
                        .iter()
                        .chain([&self.answers_other])
                        .map(|counter| counter.load(Relaxed)),
                )
                .collect(),
            truncated: self.truncated.load(Relaxed),
            dropped: DropReason::ALL
                .iter()
                .map(|reason| {
                    let count = self.dropped[*reason as usize].load(Relaxed);
                    (name(reason.name()), count)
                })
                .collect(),
            connections: self.connections.load(Relaxed),
        }
    }
}

/// [`SocketCounters`] at one moment, as reports show them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketSnapshot {
    /// Messages received, by transport.
    pub queries: BTreeMap<String, u64>,
    /// Replies sent, by RCODE.
    pub answers: BTreeMap<String, u64>,
    /// Replies sent with TC=1, also counted in `answers`.
    pub truncated: u64,
    /// Messages and connections without a reply, by [`DropReason`].
    pub dropped: BTreeMap<String, u64>,
    /// TCP connections accepted.
    pub connections: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_their_counters() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
    }
}
