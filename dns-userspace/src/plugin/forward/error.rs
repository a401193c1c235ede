//! Why an upstream gave no reply, in the words of Go's network library, which `CoreDNS` logs: dashboards and
//! `consolidate` expressions look for them.

use std::{fmt, io, net::SocketAddr};

use hickory_proto::serialize::binary::DecodeError;
use nix::errno::Errno;

/// What a query to an upstream met.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No socket, or no connection.
    #[error("dial {network} {to}: {cause}")]
    Dial {
        /// `udp` or `tcp`
        network: &'static str,
        /// The upstream.
        to: SocketAddr,
        /// Why.
        cause: Cause,
    },
    /// Nothing could be sent, or nothing came.
    #[error("{operation} {network} {from}->{to}: {cause}")]
    Transfer {
        /// `read` or `write`
        operation: &'static str,
        /// `udp` or `tcp`
        network: &'static str,
        /// Our end.
        from: SocketAddr,
        /// The upstream.
        to: SocketAddr,
        /// Why.
        cause: Cause,
    },
    /// The upstream closed the connection.
    #[error("EOF")]
    Closed,
    /// No TLS session.
    #[error("tls: {0}")]
    Tls(io::Error),
    /// The reply cannot be read.
    #[error("dns: {0}")]
    Malformed(#[from] DecodeError),
}

/// Why a socket failed.
#[derive(Debug)]
pub enum Cause {
    /// Too long.
    Timeout,
    /// The system call that said so.
    System(&'static str, io::Error),
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Timeout => out.write_str("i/o timeout"),
            Cause::System(call, error) => match error.raw_os_error() {
                Some(number) => {
                    let words = Errno::from_raw(number).desc().to_lowercase();
                    write!(out, "{call}: {words}")
                }
                None => write!(out, "{call}: {error}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_those_of_go() {
        let (from, to) = (
            "127.0.0.1:40000".parse().unwrap(),
            "[::1]:53".parse().unwrap(),
        );
        let refused = || Cause::System("connect", io::Error::from_raw_os_error(libc::ECONNREFUSED));
        for (error, words) in [
            (
                ExchangeError::Transfer {
                    operation: "read",
                    network: "udp",
                    from,
                    to,
                    cause: Cause::Timeout,
                },
                "read udp 127.0.0.1:40000->[::1]:53: i/o timeout",
            ),
            (
                ExchangeError::Dial {
                    network: "tcp",
                    to,
                    cause: refused(),
                },
                "dial tcp [::1]:53: connect: connection refused",
            ),
            (ExchangeError::Closed, "EOF"),
        ] {
            assert_eq!(error.to_string(), words);
        }
    }
}
