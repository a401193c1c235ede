//! Real TCP connections on loopback (RFC 7766).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use hickory_proto::{op::ResponseCode, rr::RecordType};
use hopzero::{
    plugin::{Reply, Request},
    socket::{Encoded, Service, TcpLimits, encode},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    message::{A, AAAA, decode, query},
    udp::{PATIENCE, start, start_with},
};

pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

pub async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let read = async {
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; length.into()];
        stream.read_exact(&mut reply).await.unwrap();
        reply
    };
    timeout(PATIENCE, read).await.expect("a reply")
}

/// The server closed: end of stream or reset, but nothing to read.
pub async fn assert_closed(stream: &mut TcpStream) {
    let read = timeout(PATIENCE, stream.read(&mut [0; 1]))
        .await
        .expect("a close");
    assert!(!matches!(read, Ok(1..)), "{read:?}");
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn pipelined_queries_are_all_answered() {
    let server = start("127.0.0.1:0", TcpLimits::default()).await;
    let mut stream = connect(server.address).await;
    let mut queries = Vec::new();
    for id in 0..100u16 {
        let mut message = query("many.shop.svc.cluster.local", A);
        message[..2].copy_from_slice(&id.to_be_bytes());
        queries.extend(framed(&message));
    }
    stream.write_all(&queries).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..100 {
        let reply = decode(&read_reply(&mut stream).await);
        assert_eq!(reply.answers.len(), 40, "whole, where UDP is truncated");
        ids.push(reply.metadata.id);
    }
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..100));
    // Closing the sending side ends the connection, cleanly.
    stream.shutdown().await.unwrap();
    assert_closed(&mut stream).await;
    assert_eq!(server.counters.snapshot().queries["tcp"], 100);
}

/// Who asks for A waits until somebody has asked for AAAA, and so often.
pub struct Waits(pub Semaphore);

#[async_trait]
impl Service for Waits {
    async fn answer(&self, request: &mut Request) -> Option<Encoded> {
        if request.rtype == RecordType::A {
            self.0.acquire().await.unwrap().forget();
        } else {
            self.0.add_permits(1);
        }
        Some(encode(request, &Reply::bare(ResponseCode::NoError)))
    }
}

pub fn numbered(id: u16, rtype: u16) -> Vec<u8> {
    let mut message = query("web.shop.svc.cluster.local", rtype);
    message[..2].copy_from_slice(&id.to_be_bytes());
    framed(&message)
}

#[tokio::test]
async fn a_reply_does_not_wait_for_those_of_earlier_queries() {
    let service = Arc::new(Waits(Semaphore::new(0)));
    let server = start_with("127.0.0.1:0", TcpLimits::default(), service);
    let mut stream = connect(server.address).await;
    let queries = [numbered(1, A), numbered(2, AAAA)].concat();
    stream.write_all(&queries).await.unwrap();
    for id in [2, 1] {
        assert_eq!(decode(&read_reply(&mut stream).await).metadata.id, id);
    }
}

#[tokio::test]
async fn who_is_done_asking_gets_the_replies_that_are_missing() {
    let service = Arc::new(Waits(Semaphore::new(0)));
    let server = start_with("127.0.0.1:0", TcpLimits::default(), service);
    let mut stream = connect(server.address).await;
    stream.write_all(&numbered(1, A)).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut other = connect(server.address).await;
    other.write_all(&numbered(2, AAAA)).await.unwrap();
    assert_eq!(decode(&read_reply(&mut other).await).metadata.id, 2);
    assert_eq!(decode(&read_reply(&mut stream).await).metadata.id, 1);
    assert_closed(&mut stream).await;
}

#[tokio::test]
async fn many_queries_that_wait_are_not_read_further() {
    let service = Arc::new(Waits(Semaphore::new(0)));
    let server = start_with("127.0.0.1:0", TcpLimits::default(), service);
    let mut stream = connect(server.address).await;
    let queries: Vec<u8> = (0..100).flat_map(|id| numbered(id, A)).collect();
    stream.write_all(&queries).await.unwrap();
    let mut other = connect(server.address).await;
    // Each lets one of the hundred go on, and so one more be read.
    for id in 0..100 {
        other.write_all(&numbered(id, AAAA)).await.unwrap();
        read_reply(&mut other).await;
        read_reply(&mut stream).await;
        let seen = server.counters.snapshot().queries["tcp"];
        assert!(seen <= u64::from(id + 1) * 2 + 32, "{seen} after {id}");
    }
}

#[tokio::test]
async fn a_message_may_come_byte_by_byte() {
    let server = start("[::1]:0", TcpLimits::default()).await;
    let mut stream = connect(server.address).await;
    stream.set_nodelay(true).unwrap();
    for byte in framed(&query("web.shop.svc.cluster.local", AAAA)) {
        stream.write_all(&[byte]).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(decode(&read_reply(&mut stream).await).answers.len(), 1);
}

#[tokio::test]
async fn silence_is_not_the_end_of_the_connection() {
    let server = start("127.0.0.1:0", TcpLimits::default()).await;
    let mut stream = connect(server.address).await;
    // An empty message, a response, and a query that is answered.
    let messages = [
        framed(&[]),
        framed(&[0xff; 20]),
        framed(&query("web.shop.svc.cluster.local", A)),
    ];
    stream.write_all(&messages.concat()).await.unwrap();
    assert_eq!(decode(&read_reply(&mut stream).await).answers.len(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let limits = TcpLimits {
        read: Duration::from_millis(200),
        ..TcpLimits::default()
    };
    let server = start("127.0.0.1:0", limits).await;
    let mut quiet = connect(server.address).await;
    let mut half = connect(server.address).await;
    half.write_all(&[0]).await.unwrap();
    assert_closed(&mut quiet).await;
    assert_closed(&mut half).await;
    assert_eq!(server.counters.snapshot().dropped["idle"], 2);
}

#[tokio::test]
async fn another_query_has_a_time_of_its_own() {
    let limits = TcpLimits {
        idle: Duration::from_millis(200),
        ..TcpLimits::default()
    };
    let server = start("127.0.0.1:0", limits).await;
    let mut stream = connect(server.address).await;
    let asked = framed(&query("web.shop.svc.cluster.local", A));
    stream.write_all(&asked).await.unwrap();
    read_reply(&mut stream).await;
    assert_closed(&mut stream).await;
    assert_eq!(server.counters.snapshot().dropped["idle"], 1);
}

#[tokio::test]
async fn a_connection_ends_behind_its_last_query() {
    let limits = TcpLimits {
        queries: Some(2),
        ..TcpLimits::default()
    };
    let server = start("127.0.0.1:0", limits).await;
    let mut stream = connect(server.address).await;
    for _ in 0..2 {
        let asked = framed(&query("web.shop.svc.cluster.local", A));
        stream.write_all(&asked).await.unwrap();
        read_reply(&mut stream).await;
    }
    assert_closed(&mut stream).await;
    assert_eq!(server.counters.snapshot().dropped["idle"], 0);
}

#[tokio::test]
async fn a_slow_reader_is_cut_off_and_delays_nobody() {
    let limits = TcpLimits {
        write: Duration::from_millis(500),
        ..TcpLimits::default()
    };
    let server = start("127.0.0.1:0", limits).await;
    let mut slow = connect(server.address).await;
    // Asks for more than the buffers of both sides hold, and reads nothing.
    let many = framed(&query("many.shop.svc.cluster.local", A)).repeat(40_000);
    let flood = tokio::spawn(async move {
        let _ = slow.write_all(&many).await;
        slow
    });
    let mut other = connect(server.address).await;
    for _ in 0..10 {
        other
            .write_all(&framed(&query("web.shop.svc.cluster.local", A)))
            .await
            .unwrap();
        read_reply(&mut other).await;
    }
    drop(other);
    // Held until the end: to the server this client is slow, not gone.
    let _slow = timeout(PATIENCE, flood).await.expect("cut off").unwrap();
    let cut = async {
        while server.counters.snapshot().dropped["idle"] == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, cut).await.expect("counted as idle");
}

#[tokio::test]
async fn connections_are_limited_per_client_and_in_total() {
    let limits = TcpLimits {
        connections_total: 3,
        connections_per_client: 2,
        ..TcpLimits::default()
    };
    let server = start("127.0.0.1:0", limits).await;
    let ask = async |stream: &mut TcpStream| {
        stream
            .write_all(&framed(&query("web.shop.svc.cluster.local", A)))
            .await
            .unwrap();
        read_reply(stream).await
    };
    let mut first = connect(server.address).await;
    let mut second = connect(server.address).await;
    ask(&mut first).await;
    ask(&mut second).await;
    assert_closed(&mut connect(server.address).await).await;
    assert_eq!(
        server.counters.snapshot().dropped["connections_per_client"],
        1
    );

    // Loopback has as many client addresses as one likes.
    let from = async |client: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(client.parse().unwrap()).unwrap();
        socket.connect(server.address).await.unwrap()
    };
    let mut third = from("127.0.0.2:0").await;
    ask(&mut third).await;
    assert_closed(&mut from("127.0.0.3:0").await).await;
    assert_eq!(server.counters.snapshot().dropped["connections_total"], 1);

    // A closed connection makes room.
    first.shutdown().await.unwrap();
    assert_closed(&mut first).await;
    let mut again = from("127.0.0.3:0").await;
    ask(&mut again).await;
}

#[tokio::test]
async fn an_oversized_message_ends_the_connection() {
    let server = start("127.0.0.1:0", TcpLimits::default()).await;
    let mut stream = connect(server.address).await;
    stream.write_all(&[0xff, 0xff, 0, 0]).await.unwrap();
    assert_closed(&mut stream).await;
    assert_eq!(server.counters.snapshot().dropped["too_long"], 1);
}

#[tokio::test]
async fn stop_closes_connections_and_frees_the_address() {
    let server = start("127.0.0.1:0", TcpLimits::default()).await;
    let mut stream = connect(server.address).await;
    stream
        .write_all(&framed(&query("web.shop.svc.cluster.local", A)))
        .await
        .unwrap();
    read_reply(&mut stream).await;
    server.stop.cancel();
    assert_closed(&mut stream).await;
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
