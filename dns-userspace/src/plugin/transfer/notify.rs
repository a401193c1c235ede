//! NOTIFY (RFC 1996): others are told that a zone has changed, so that they ask for it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use crate::plugin::metrics::rcode_label;

/// As in `CoreDNS`: so often, and so long for each.
const TRIES: usize = 3;
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// A reply has header and question; longer ones are cut.
const REPLY_BYTES: usize = 512;

/// Tells one server, and waits for its word.
///
/// # Errors
///
/// It has not said that it knows, in `CoreDNS`'s words.
pub(super) async fn notify(
    zone: &Name,
    to: SocketAddr,
    source: Option<IpAddr>,
) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..TRIES {
        last = match tell(zone, to, source).await {
            Ok(ResponseCode::NoError) => return Ok(()),
            Ok(refused) => format!("rcode was {:?}", rcode_label(refused)),
            Err(error) => format!("{:?}", error.to_string()),
        };
    }
    Err(format!(
        "notify for zone \"{zone}\" was not accepted by \"{to}\": {last}"
    ))
}

async fn tell(zone: &Name, to: SocketAddr, source: Option<IpAddr>) -> io::Result<ResponseCode> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((source.unwrap_or(any), 0)).await?;
    socket.connect(to).await?;
    let id = rand::random();
    let mut message = Message::new(id, MessageType::Query, OpCode::Notify);
    message.metadata.authoritative = true;
    message.add_query(Query::query(zone.clone(), RecordType::SOA));
    socket
        .send(&message.to_vec().map_err(io::Error::other)?)
        .await?;
    let deadline = Instant::now() + REPLY_TIMEOUT;
    let mut buffer = [0; REPLY_BYTES];
    loop {
        let length = timeout_at(deadline, socket.recv(&mut buffer))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))??;
        if let Ok(reply) = Message::from_vec(&buffer[..length])
            && reply.metadata.id == id
            && reply.metadata.message_type == MessageType::Response
            && reply.metadata.op_code == OpCode::Notify
        {
            return Ok(reply.metadata.response_code);
        }
    }
}
