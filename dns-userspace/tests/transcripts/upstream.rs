//! An upstream that says what the transcript tells it to: over UDP and TCP at one port, over TLS at another.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use hickory_proto::{
    op::Message,
    rr::{Name, RecordType},
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use crate::text;

/// A query that came in, and where its reply goes.
pub struct Received {
    pub proto: &'static str,
    pub bytes: Vec<u8>,
    pub back: Back,
}

/// The way back to who asked.
pub enum Back {
    Udp(Arc<UdpSocket>, SocketAddr),
    /// Dropped: the connection is closed.
    Stream(mpsc::UnboundedSender<Vec<u8>>),
}

impl Back {
    pub async fn send(&self, bytes: &[u8]) {
        match self {
            Back::Udp(socket, to) => {
                socket.send_to(bytes, to).await.unwrap();
            }
            Back::Stream(sender) => {
                let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
                framed.extend_from_slice(bytes);
                sender.send(framed).expect("a connection that is open");
            }
        }
    }
}

/// What is seen of health checks, and how they are answered.
#[derive(Default)]
pub struct Checks {
    pub seen: AtomicUsize,
    pub ignored: AtomicBool,
    /// The last one.
    pub last: Mutex<String>,
}

pub struct Upstream {
    pub address: SocketAddr,
    pub tls: SocketAddr,
    pub queries: mpsc::UnboundedReceiver<Received>,
    /// From the beginning; `None` where no more can be said.
    pub received: Vec<Option<Received>>,
    pub checks: Arc<Checks>,
    pub ports: Arc<Mutex<HashSet<u16>>>,
    pub connections: Arc<AtomicUsize>,
}

/// Who takes in what comes.
#[derive(Clone)]
struct Inbox {
    queries: mpsc::UnboundedSender<Received>,
    checks: Arc<Checks>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    pub async fn start(tls: Arc<ServerConfig>) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (Arc::new(udp), tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let tls_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls_address = tls_listener.local_addr().unwrap();
        let (sender, queries) = mpsc::unbounded_channel();
        let inbox = Inbox {
            queries: sender,
            checks: Arc::default(),
            connections: Arc::default(),
        };
        let ports = Arc::default();
        tokio::spawn(serve_udp(udp, inbox.clone(), Arc::clone(&ports)));
        tokio::spawn(serve_stream(tcp, None, "tcp", inbox.clone()));
        tokio::spawn(serve_stream(
            tls_listener,
            Some(tls.into()),
            "tls",
            inbox.clone(),
        ));
        Upstream {
            address,
            tls: tls_address,
            queries,
            received: Vec::new(),
            checks: inbox.checks,
            ports,
            connections: inbox.connections,
        }
    }
}

impl Upstream {
    /// The last query, or that of a number from 1.
    pub fn received(&self, number: Option<usize>) -> Result<&Received, String> {
        let index = number.unwrap_or(self.received.len()).wrapping_sub(1);
        let received = self.received.get(index).and_then(Option::as_ref);
        received.ok_or_else(|| "it was not asked, or closed the connection".to_owned())
    }

    /// Connections are free for their next query, or closed if nothing was said.
    pub fn let_go(&mut self) {
        for received in &mut self.received {
            if matches!(
                received,
                Some(Received {
                    back: Back::Stream(_),
                    ..
                })
            ) {
                *received = None;
            }
        }
    }
}

impl Inbox {
    /// Health checks are answered here.
    async fn take(&self, received: Received) {
        let message = Message::from_vec(&received.bytes).expect("a query that can be read");
        let query = &message.queries[0];
        let is_check = query.query_type == RecordType::NS
            && (query.name == Name::root() || query.name == text::name_of("check.example"));
        if !is_check {
            // The transcript may be over.
            let _ = self.queries.send(received);
            return;
        }
        *self.checks.last.lock().unwrap() = text::show_query(received.proto, &received.bytes);
        self.checks.seen.fetch_add(1, Relaxed);
        if !self.checks.ignored.load(Relaxed) {
            let reply = text::reply(&received.bytes, "REFUSED").to_vec().unwrap();
            received.back.send(&reply).await;
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, inbox: Inbox, ports: Arc<Mutex<HashSet<u16>>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        ports.lock().unwrap().insert(from.port());
        let received = Received {
            proto: "udp",
            bytes: buffer[..length].to_vec(),
            back: Back::Udp(Arc::clone(&socket), from),
        };
        inbox.take(received).await;
    }
}

async fn serve_stream(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    proto: &'static str,
    inbox: Inbox,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        inbox.connections.fetch_add(1, Relaxed);
        let (inbox, tls) = (inbox.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve_one(stream, proto, inbox).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        // With a certificate of the client.
                        let is_known = stream.get_ref().1.peer_certificates().is_some();
                        let proto = if is_known { "mtls" } else { proto };
                        serve_one(stream, proto, inbox).await;
                    }
                }
            }
        });
    }
}

/// One query after the other; closed where its way back is dropped without a reply.
async fn serve_one(stream: impl AsyncRead + AsyncWrite, proto: &'static str, inbox: Inbox) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        loop {
            let Ok(length) = reader.read_u16().await else {
                return;
            };
            let mut bytes = vec![0; length.into()];
            reader.read_exact(&mut bytes).await.unwrap();
            let (sender, mut replies) = mpsc::unbounded_channel::<Vec<u8>>();
            let back = Back::Stream(sender);
            inbox.take(Received { proto, bytes, back }).await;
            let mut is_answered = false;
            while let Some(reply) = replies.recv().await {
                is_answered = true;
                if writer.write_all(&reply).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
            if !is_answered {
                return;
            }
        }
    };
    read.await;
}
