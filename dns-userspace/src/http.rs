//! Pages over HTTP/1.1: `/metrics`, `/health`, `/ready`; also within TLS.
//!
//! Each address has one listener, whose pages may change while it is open. Clients have little time, and
//! there are few of them at once, so that a stranger has nothing to hold on to.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::plugin::wanted::Pages;

/// For the headers of a request, also between two requests of one connection; as in `CoreDNS`.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(5);
/// For one connection, whatever it asks.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);
/// How long replies under way may take after a stop.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Connections of one listener at a time; more wait.
const CONNECTIONS_MAX: usize = 64;
const BACKLOG: i32 = 128;
/// After a failed accept: out of file descriptors, mostly, which takes a while to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Makes a page each time that it is asked for.
pub type MakePage = Arc<dyn Fn() -> Page + Send + Sync>;

/// What is replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Page {
    /// 200 and `OK`.
    pub fn ok() -> Self {
        Page {
            status: StatusCode::OK,
            content_type: PLAIN,
            body: "OK".to_owned(),
        }
    }

    /// 503 and why.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Page {
            status: StatusCode::SERVICE_UNAVAILABLE,
            content_type: PLAIN,
            body: why.into(),
        }
    }

    /// Metrics.
    pub fn metrics(text: String) -> Self {
        Page {
            status: StatusCode::OK,
            content_type: prometheus_text::CONTENT_TYPE,
            body: text,
        }
    }

    fn not_found() -> Self {
        Page {
            status: StatusCode::NOT_FOUND,
            content_type: PLAIN,
            body: "404 page not found\n".to_owned(),
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let content_type = HeaderValue::from_static(self.content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }
}

/// A socket that is bound and not yet served.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `HOST:PORT`; without a host it is all of this one, of both families. With `beside_ours` sockets of this user
    /// that are there already are no hindrance.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bind(address: &str, beside_ours: bool) -> io::Result<Self> {
        let resolved = match address.strip_prefix(':') {
            Some(port) => {
                let port = port.parse().map_err(io::Error::other)?;
                return Self::bind_at((Ipv6Addr::UNSPECIFIED, port).into(), beside_ours)
                    .or_else(|_| Self::bind_at((Ipv4Addr::UNSPECIFIED, port).into(), beside_ours));
            }
            None => address.to_socket_addrs()?,
        };
        // A name of both families is its IPv4 address, as in Go.
        let resolved = resolved.min_by_key(SocketAddr::is_ipv6);
        Self::bind_at(
            resolved.ok_or(io::ErrorKind::AddrNotAvailable)?,
            beside_ours,
        )
    }

    fn bind_at(address: SocketAddr, beside_ours: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // Connections of a daemon before that are still closing are no hindrance.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(beside_ours)?;
        socket.bind(&address.into())?;
        socket.set_reuse_port(true)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Listener {
            address: listener.local_addr()?,
            listener,
        })
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves what the pages are at the time, until `stop`.
    pub async fn run(self, pages: Arc<ArcSwap<Pages>>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = async {
                let permit = Arc::clone(&free).acquire_owned().await;
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "accepting over HTTP");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (pages, stop) = (Arc::clone(&pages), stop.clone());
            connections.spawn(async move {
                let serving = async {
                    let tls = pages.load().tls.clone();
                    match tls {
                        None => serve(stream, pages, stop).await,
                        Some(tls) => serve_over(tls, stream, pages, stop).await,
                    }
                };
                let _ = timeout(CONNECTION_TIMEOUT, serving).await;
                drop(permit);
            });
        }
        drop(self.listener);
        connections.close();
        let _ = timeout(STOP_GRACE, connections.wait()).await;
    }
}

/// The same within a session.
async fn serve_over(
    tls: Arc<ServerConfig>,
    stream: TcpStream,
    pages: Arc<ArcSwap<Pages>>,
    stop: CancellationToken,
) {
    let session = TlsAcceptor::from(tls).accept(stream);
    match timeout(HEADERS_TIMEOUT, session).await {
        Ok(Ok(session)) => serve(session, pages, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a session of HTTP"),
        Err(_) => tracing::debug!("a session of HTTP took too long"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    pages: Arc<ArcSwap<Pages>>,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let pages = pages.load();
        let page = (pages.by_path.get(request.uri().path())).map(|make| make());
        let page = page.unwrap_or_else(Page::not_found);
        async move { Ok::<_, Infallible>(page.response()) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "serving over HTTP");
    }
}
