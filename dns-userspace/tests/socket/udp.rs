//! A real UDP socket on loopback.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hopzero::socket::{BindError, Only, Server, ServerConfig, Service, SocketCounters, TcpLimits};
use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    message::{A, decode, query},
    zone::lookup,
};

/// Long enough for a busy machine, short enough to notice.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A server on a port of its own.
pub struct Running {
    pub address: SocketAddr,
    pub counters: Arc<SocketCounters>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

pub async fn start(listen: &str, tcp_limits: TcpLimits) -> Running {
    let zone = Only {
        resolver: Arc::new(lookup),
        rotate: false,
    };
    start_with(listen, tcp_limits, Arc::new(zone))
}

pub fn start_with(listen: &str, tcp_limits: TcpLimits, service: Arc<dyn Service>) -> Running {
    let server = Server::bind(ServerConfig {
        listen: vec![listen.parse().unwrap()],
        tcp_limits,
        ..ServerConfig::default()
    })
    .unwrap();
    let counters = Arc::new(SocketCounters::default());
    let stop = CancellationToken::new();
    Running {
        address: server.addresses()[0],
        task: tokio::spawn(server.run(service, Arc::clone(&counters), stop.clone())),
        counters,
        stop,
    }
}

async fn exchange(client: &UdpSocket, message: &[u8]) -> Vec<u8> {
    client.send(message).await.unwrap();
    let mut reply = vec![0; 2000];
    let length = timeout(PATIENCE, client.recv(&mut reply))
        .await
        .unwrap()
        .unwrap();
    reply.truncate(length);
    reply
}

#[tokio::test]
async fn answers_and_counts() {
    let server = start("127.0.0.1:0", TcpLimits::default()).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(server.address).await.unwrap();

    // Neither gets a reply, and neither stops the server.
    client.send(&[]).await.unwrap();
    client.send(&[0xff; 100]).await.unwrap();
    let reply = exchange(&client, &query("web.shop.svc.cluster.local", A)).await;
    assert_eq!(decode(&reply).answers.len(), 1);
    exchange(&client, &query("example.com", A)).await;
    exchange(&client, &query("many.shop.svc.cluster.local", A)).await;

    let counters = server.counters.snapshot();
    assert_eq!(counters.queries["udp"], 5);
    assert_eq!(counters.queries["tcp"], 0);
    assert_eq!(counters.answers["NOERROR"], 2);
    assert_eq!(counters.answers["REFUSED"], 1);
    assert_eq!(counters.truncated, 1);
    assert_eq!(counters.dropped["short"], 1);
    assert_eq!(counters.dropped["response"], 1);

    server.stop.cancel();
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    UdpSocket::bind(server.address)
        .await
        .expect("the address is free again");
}

#[tokio::test]
async fn a_client_that_is_gone_does_not_stop_the_server() {
    let server = start("[::1]:0", TcpLimits::default()).await;
    for _ in 0..3 {
        let gone = UdpSocket::bind("[::1]:0").await.unwrap();
        gone.send_to(&query("example.com", A), server.address)
            .await
            .unwrap();
    }
    let client = UdpSocket::bind("[::1]:0").await.unwrap();
    client.connect(server.address).await.unwrap();
    exchange(&client, &query("example.com", A)).await;
}

#[tokio::test]
async fn bind_errors_name_address_reason_and_remedy() {
    fn fails(listen: &str) -> BindError {
        let listen = vec![listen.parse().unwrap()];
        let config = ServerConfig {
            listen,
            ..ServerConfig::default()
        };
        Server::bind(config).unwrap_err()
    }
    let taken = start("127.0.0.1:0", TcpLimits::default()).await;
    let text = fails(&taken.address.to_string()).to_string();
    assert!(text.contains(&taken.address.to_string()), "{text}");
    assert!(
        text.contains("in use") && text.contains("ss -lntup"),
        "{text}"
    );

    let text = fails("192.0.2.77:1053").to_string();
    assert!(
        text.contains("192.0.2.77:1053") && text.contains("ip address"),
        "{text}"
    );
}

#[tokio::test]
async fn a_wildcard_replies_from_the_address_that_was_asked() {
    for (wildcard, bind, asked) in [
        ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.2"),
        ("[::]:0", "127.0.0.1:0", "127.0.0.3"),
        ("[::]:0", "[::1]:0", "::1"),
    ] {
        let server = start(wildcard, TcpLimits::default()).await;
        let client = UdpSocket::bind(bind).await.unwrap();
        let asked = SocketAddr::new(asked.parse().unwrap(), server.address.port());
        // A connected socket takes nothing from another address.
        client.connect(asked).await.unwrap();
        exchange(&client, &query("example.com", A)).await;
    }
}
