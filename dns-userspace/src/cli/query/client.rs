//! One query and its reply.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query},
    rr::{Name, RecordType},
};

use crate::socket::{Transport, UDP_ANSWER_BYTES_MAX};

/// No datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A query that was answered.
pub(super) struct Exchange {
    pub server: SocketAddr,
    /// Of the reply: TCP after a truncated one.
    pub transport: Transport,
    pub elapsed: Duration,
    pub reply: Message,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no reply from {server} within {} s (is a server there? ask another with --server ADDR:PORT)", timeout.as_secs_f64())]
    Timeout {
        server: SocketAddr,
        timeout: Duration,
    },
    #[error(
        "nobody listens on {server} (start `hopzero serve`, or ask another with --server ADDR:PORT)"
    )]
    Refused { server: SocketAddr },
    #[error("asking {server}: {source}")]
    Io {
        server: SocketAddr,
        source: io::Error,
    },
    #[error("the query cannot be encoded: {0}")]
    Encode(#[from] hickory_proto::ProtoError),
}

/// Asks over UDP, and over TCP where that is asked for or the answer is truncated.
pub(super) fn ask(
    server: SocketAddr,
    name: &Name,
    rtype: RecordType,
    tcp: bool,
    timeout: Duration,
) -> Result<Exchange, AskError> {
    // The ID comes from a CSPRNG, and the source port from the system (RFC 5452).
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_ANSWER_BYTES_MAX);
    query.set_edns(edns);

    let started = Instant::now();
    let clock = Clock {
        deadline: started + timeout,
    };
    let run = || -> Result<(Transport, Message), Failure> {
        let bytes = query.to_vec()?;
        if !tcp {
            let reply = ask_udp(server, &query, &bytes, clock)?;
            if !reply.metadata.truncation {
                return Ok((Transport::Udp, reply));
            }
        }
        Ok((Transport::Tcp, ask_tcp(server, &query, &bytes, clock)?))
    };
    let (transport, reply) = run().map_err(|failure| match failure {
        Failure::Encode(error) => AskError::Encode(error),
        Failure::Io(source) => match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                AskError::Timeout { server, timeout }
            }
            io::ErrorKind::ConnectionRefused => AskError::Refused { server },
            _ => AskError::Io { server, source },
        },
    })?;
    Ok(Exchange {
        server,
        transport,
        elapsed: started.elapsed(),
        reply,
    })
}

enum Failure {
    Encode(hickory_proto::ProtoError),
    Io(io::Error),
}

impl From<hickory_proto::ProtoError> for Failure {
    fn from(error: hickory_proto::ProtoError) -> Self {
        Self::Encode(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One deadline for everything.
#[derive(Clone, Copy)]
struct Clock {
    deadline: Instant,
}

impl Clock {
    fn left(self) -> io::Result<Duration> {
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

fn ask_udp(server: SocketAddr, query: &Message, bytes: &[u8], clock: Clock) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // From then on only the server's own datagrams are received.
    socket.connect(server)?;
    socket.send(bytes)?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        socket.set_read_timeout(Some(clock.left()?))?;
        let length = socket.recv(&mut buffer)?;
        // What is not the reply may be forged or late: it is discarded, and the wait goes on.
        if let Ok(reply) = Message::from_vec(&buffer[..length])
            && answers(&reply, query)
        {
            return Ok(reply);
        }
    }
}

fn ask_tcp(server: SocketAddr, query: &Message, bytes: &[u8], clock: Clock) -> io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, clock.left()?)?;
    stream.set_write_timeout(Some(clock.left()?))?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())?;
    loop {
        let mut length = [0; 2];
        read_exact(&mut stream, &mut length, clock)?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        read_exact(&mut stream, &mut message, clock)?;
        if let Ok(reply) = Message::from_vec(&message)
            && answers(&reply, query)
        {
            return Ok(reply);
        }
    }
}

/// [`Read::read_exact`] with one deadline for all the reads.
fn read_exact(stream: &mut TcpStream, mut buffer: &mut [u8], clock: Clock) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(clock.left()?))?;
        match stream.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => buffer = &mut buffer[read..],
        }
    }
    Ok(())
}

/// Whether this is the reply: a response with our ID, and our question unless it is an error that
/// has none (a server that could not read the query).
fn answers(reply: &Message, query: &Message) -> bool {
    reply.metadata.message_type == MessageType::Response
        && reply.metadata.id == query.metadata.id
        && (reply.queries == query.queries
            || reply.queries.is_empty() && u16::from(reply.metadata.response_code) != 0)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use hickory_proto::op::ResponseCode;

    use super::*;

    /// A server that answers the first query with each of these changes to the right reply.
    fn serve(changes: Vec<fn(&mut Message)>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, client) = socket.recv_from(&mut buffer).unwrap();
            for change in changes {
                let mut reply = Message::from_vec(&buffer[..length]).unwrap();
                reply.metadata.message_type = MessageType::Response;
                change(&mut reply);
                socket.send_to(&reply.to_vec().unwrap(), client).unwrap();
            }
        });
        address
    }

    fn ask_a(server: SocketAddr, timeout: Duration) -> Result<Exchange, AskError> {
        let name = Name::from_ascii("web.shop.").unwrap();
        ask(server, &name, RecordType::A, false, timeout)
    }

    #[test]
    fn bad_replies_are_discarded() {
        let server = serve(vec![
            |reply| reply.metadata.id ^= 1,
            |reply| reply.metadata.message_type = MessageType::Query,
            |reply| reply.queries[0].name = Name::from_ascii("web.other.").unwrap(),
            |reply| reply.queries[0].query_type = RecordType::AAAA,
            |reply| reply.queries.clear(),
            |reply| reply.metadata.response_code = ResponseCode::NXDomain,
        ]);
        let reply = ask_a(server, Duration::from_secs(5)).unwrap().reply;
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn an_error_without_a_question_is_a_reply() {
        let server = serve(vec![|reply| {
            reply.queries.clear();
            reply.metadata.response_code = ResponseCode::FormErr;
        }]);
        let reply = ask_a(server, Duration::from_secs(5)).unwrap().reply;
        assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
    }

    #[test]
    fn silence_and_absence() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let error = ask_a(address, Duration::from_millis(50)).err().unwrap();
        assert!(matches!(error, AskError::Timeout { .. }), "{error}");
        drop(silent);
        let error = ask_a(address, Duration::from_secs(5)).err().unwrap();
        assert!(matches!(error, AskError::Refused { .. }), "{error}");
    }
}
