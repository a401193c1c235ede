//! Real TLS sessions on loopback (RFC 7858).

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hopzero::{
    plugin::Request,
    socket::{Asked, Encoded, Only, Service, TcpLimits},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    message::{A, AAAA, decode, query},
    tcp::{Waits, assert_closed, connect, framed, numbered, read_reply},
    udp::{PATIENCE, Running, start_with},
    zone::lookup,
};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A service whose connections are sessions.
struct Secured<S> {
    inner: S,
    config: Mutex<Arc<ServerConfig>>,
}

#[async_trait]
impl<S: Service> Service for Secured<S> {
    async fn answer(&self, request: &mut Request) -> Option<Encoded> {
        self.inner.answer(request).await
    }

    fn glance(&self, asked: &Asked<'_>, message: &mut Vec<u8>) -> Option<ResponseCode> {
        self.inner.glance(asked, message)
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        Some(Arc::clone(&self.config.lock().unwrap()))
    }
}

/// A server's configuration, and whom its clients trust.
fn certificate() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["dns.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&BOTH)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(private),
        )
        .unwrap();
    (Arc::new(config), certificate.der().clone())
}

struct Secure {
    running: Running,
    trusted: CertificateDer<'static>,
}

impl Secure {
    fn of_zone(limits: TcpLimits) -> Self {
        let zone = Only {
            resolver: Arc::new(lookup),
            rotate: false,
        };
        Self::of(limits, zone)
    }

    fn of(limits: TcpLimits, inner: impl Service) -> Self {
        let (config, trusted) = certificate();
        let config = Mutex::new(config);
        let service = Arc::new(Secured { inner, config });
        Secure {
            running: start_with("127.0.0.1:0", limits, service),
            trusted,
        }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    fn connector(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        self.client(versions).into()
    }

    async fn session_over<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: T,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsStream<T> {
        let name = ServerName::try_from("dns.example").unwrap();
        let session = self.connector(versions).connect(name, stream);
        timeout(PATIENCE, session).await.unwrap().unwrap()
    }

    async fn session(&self) -> TlsStream<TcpStream> {
        let stream = connect(self.running.address).await;
        self.session_over(stream, &BOTH).await
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.running.counters.snapshot().dropped[reason]
    }
}

#[tokio::test]
async fn pipelined_queries_are_all_answered() {
    for version in BOTH {
        let server = Secure::of_zone(TcpLimits::default());
        let stream = connect(server.running.address).await;
        let mut session = server.session_over(stream, &[version]).await;
        let queries = (0..100).flat_map(|id| {
            let mut message = query("many.shop.svc.cluster.local", A);
            message[..2].copy_from_slice(&u16::to_be_bytes(id));
            framed(&message)
        });
        // They are several records, and some begin in one and end in another.
        let queries: Vec<u8> = queries.collect();
        for part in queries.chunks(1000) {
            session.write_all(part).await.unwrap();
            session.flush().await.unwrap();
        }
        let mut ids = Vec::new();
        for _ in 0..100 {
            let reply = decode(&read_reply(&mut session).await);
            assert_eq!(reply.answers.len(), 40);
            ids.push(reply.metadata.id);
        }
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..100));
        assert_eq!(server.running.counters.snapshot().queries["tcp"], 100);
    }
}

#[tokio::test]
async fn a_reply_does_not_wait_for_those_of_earlier_queries() {
    let server = Secure::of(TcpLimits::default(), Waits(Semaphore::new(0)));
    let mut session = server.session().await;
    let queries = [numbered(1, A), numbered(2, AAAA)].concat();
    session.write_all(&queries).await.unwrap();
    for id in [2, 1] {
        assert_eq!(decode(&read_reply(&mut session).await).metadata.id, id);
    }
}

#[tokio::test]
async fn who_is_done_asking_gets_what_is_missing_and_a_clean_end() {
    for version in BOTH {
        let server = Secure::of(TcpLimits::default(), Waits(Semaphore::new(0)));
        let stream = connect(server.running.address).await;
        let mut session = server.session_over(stream, &[version]).await;
        session.write_all(&numbered(1, A)).await.unwrap();
        // Tells that nothing follows, and ends its half of the stream.
        session.shutdown().await.unwrap();
        let mut other = server.session().await;
        other.write_all(&numbered(2, AAAA)).await.unwrap();
        assert_eq!(decode(&read_reply(&mut other).await).metadata.id, 2);
        assert_eq!(decode(&read_reply(&mut session).await).metadata.id, 1);
        // An end that is not told would be an error.
        let end = timeout(PATIENCE, session.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap(), 0);
    }
}

/// One byte a write.
struct Trickle(TcpStream);

impl AsyncRead for Trickle {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Trickle {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let one = &bytes[..bytes.len().min(1)];
        Pin::new(&mut self.get_mut().0).poll_write(context, one)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

#[tokio::test]
async fn a_session_may_come_byte_by_byte() {
    let server = Secure::of_zone(TcpLimits::default());
    let stream = connect(server.running.address).await;
    stream.set_nodelay(true).unwrap();
    let mut session = server.session_over(Trickle(stream), &BOTH).await;
    let asked = framed(&query("web.shop.svc.cluster.local", AAAA));
    session.write_all(&asked).await.unwrap();
    session.flush().await.unwrap();
    assert_eq!(decode(&read_reply(&mut session).await).answers.len(), 1);
}

#[tokio::test]
async fn what_begins_no_session_is_closed_at_once() {
    let server = Secure::of_zone(TcpLimits::default());
    let query = framed(&query("web.shop.svc.cluster.local", A));
    let hello = [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    let broken: [&[u8]; 6] = [
        // A client that does not know that this is TLS.
        &query,
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 2000],
        // A ClientHello with nothing in it.
        &hello,
        // Data before there is a session.
        &[0x17, 3, 3, 0, 1, 0],
        // A record of more than there can be.
        &[0x16, 3, 1, 0xff, 0xff, 1],
    ];
    for (seen, bytes) in (1..).zip(broken) {
        let mut stream = connect(server.running.address).await;
        let begun = Instant::now();
        stream.write_all(bytes).await.unwrap();
        let mut told = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut told)).await;
        assert!(read.is_ok(), "open: {bytes:02x?}");
        // An alert at most.
        assert!(told.is_empty() || told[0] == 0x15, "{told:02x?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{bytes:02x?}");
        assert_eq!(server.dropped("tls"), seen, "{bytes:02x?}");
    }
    let mut session = server.session().await;
    session.write_all(&query).await.unwrap();
    read_reply(&mut session).await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_holds_its_place_no_longer_than_a_first_query() {
    let limits = TcpLimits {
        read: Duration::from_millis(300),
        connections_per_client: 2,
        ..TcpLimits::default()
    };
    let server = Secure::of_zone(limits);
    let mut quiet = connect(server.running.address).await;
    let mut half = connect(server.running.address).await;
    // The beginning of a ClientHello.
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    assert_closed(&mut connect(server.running.address).await).await;
    assert_eq!(server.dropped("connections_per_client"), 1);
    let begun = Instant::now();
    assert_closed(&mut quiet).await;
    let mut told = Vec::new();
    let _ = timeout(PATIENCE, half.read_to_end(&mut told))
        .await
        .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(server.dropped("idle"), 2);
    // A session without a query has no more time.
    let mut session = server.session().await;
    let _ = timeout(PATIENCE, session.read(&mut [0; 1])).await.unwrap();
    assert_eq!(server.dropped("idle"), 3);
}

#[tokio::test]
async fn another_query_has_a_time_of_its_own() {
    let limits = TcpLimits {
        idle: Duration::from_millis(200),
        ..TcpLimits::default()
    };
    let server = Secure::of_zone(limits);
    let mut session = server.session().await;
    let asked = framed(&query("web.shop.svc.cluster.local", A));
    session.write_all(&asked).await.unwrap();
    read_reply(&mut session).await;
    let end = timeout(PATIENCE, session.read(&mut [0; 1])).await.unwrap();
    assert_eq!(end.unwrap(), 0, "told that it ends");
    assert_eq!(server.dropped("idle"), 1);
}

#[tokio::test]
async fn a_slow_reader_is_cut_off() {
    let limits = TcpLimits {
        write: Duration::from_millis(500),
        ..TcpLimits::default()
    };
    let server = Secure::of_zone(limits);
    let (mut reads, mut writes) = tokio::io::split(server.session().await);
    let many = framed(&query("many.shop.svc.cluster.local", A)).repeat(40_000);
    let flood = tokio::spawn(async move {
        let _ = writes.write_all(&many).await;
        writes
    });
    // Held until the end: to the server this client is slow, not gone.
    let _writes = timeout(PATIENCE, flood).await.expect("cut off").unwrap();
    let cut = async {
        while server.dropped("idle") == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, cut).await.expect("counted as idle");
    // What had left before is whole.
    assert_eq!(decode(&read_reply(&mut reads).await).answers.len(), 40);
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_session_on() {
    let (config, trusted) = certificate();
    let service = Arc::new(Secured {
        inner: Waits(Semaphore::new(100)),
        config: Mutex::new(config),
    });
    let running = start_with(
        "127.0.0.1:0",
        TcpLimits::default(),
        Arc::clone(&service) as _,
    );
    let mut server = Secure { running, trusted };
    let mut before = server.session().await;
    let (config, trusted) = certificate();
    *service.config.lock().unwrap() = config;
    let stream = connect(server.running.address).await;
    let name = ServerName::try_from("dns.example").unwrap();
    let refused = server.connector(&BOTH).connect(name, stream).await;
    assert!(refused.is_err(), "the one before is still shown");
    server.trusted = trusted;
    let mut after = server.session().await;
    for session in [&mut before, &mut after] {
        session.write_all(&numbered(7, A)).await.unwrap();
        assert_eq!(decode(&read_reply(session).await).metadata.id, 7);
    }
}

/// The first bytes of a client, as they leave.
fn hello(server: &Secure) -> Vec<u8> {
    let name = ServerName::try_from("dns.example").unwrap();
    let mut client = rustls::ClientConnection::new(server.client(&BOTH), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn no_change_to_a_handshake_ends_more_than_its_session() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(async { Secure::of_zone(TcpLimits::default()) });
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8);
    let strategy = (changes, any::<prop::sample::Index>(), any::<bool>());
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&strategy, |(changes, cut, is_cut)| {
            let mut bytes = hello(&server);
            for (at, value) in changes {
                *at.get_mut(&mut bytes) = value;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            runtime.block_on(async {
                let mut stream = connect(server.running.address).await;
                let _ = stream.write_all(&bytes).await;
                // There is nothing to wait for.
                let _ = stream.shutdown().await;
                let mut told = Vec::new();
                let closed = timeout(PATIENCE, stream.read_to_end(&mut told)).await;
                prop_assert!(closed.is_ok());
                Ok(())
            })
        })
        .unwrap();
    runtime.block_on(async {
        let mut session = server.session().await;
        let asked = framed(&query("web.shop.svc.cluster.local", A));
        session.write_all(&asked).await.unwrap();
        read_reply(&mut session).await;
    });
}
