//! Queries to an upstream over TCP and TLS (RFC 7766, RFC 7858).
//!
//! A connection has one query at a time. Then it waits for the next one, for as long as `expire` says; the one that
//! has waited longest is taken first. That an upstream closed it meanwhile is seen when it is used: the query goes
//! over another one.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
    time::timeout,
};

use super::{
    error::{Cause, ExchangeError},
    message::Query,
    patience::Patience,
    tls::Tls,
};

/// TCP's length prefix.
const PREFIX_BYTES: usize = 2;

/// How connections are made, and how long they are kept.
#[derive(Clone)]
pub struct StreamConfig {
    /// The upstream.
    pub to: SocketAddr,
    /// Our address, if it is not the system's choice.
    pub source: Option<IpAddr>,
    /// TLS, and the name that the certificate must have.
    pub tls: Option<Tls>,
    /// How long a connection may wait for a query.
    pub expire: Duration,
    /// How old it may become.
    pub max_age: Option<Duration>,
    /// How many may wait.
    pub max_idle: Option<usize>,
}

/// The connections to one upstream.
pub struct Streams {
    config: StreamConfig,
    idle: Arc<Mutex<VecDeque<Connection>>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Connection {
    stream: Box<dyn Stream>,
    from: SocketAddr,
    opened: Instant,
    used: Instant,
}

impl Streams {
    /// None is opened yet.
    pub fn new(config: StreamConfig) -> Self {
        Streams {
            config,
            idle: Arc::default(),
        }
    }

    /// Sends a query and waits for its reply; `is_reused` hears of each connection whether it was there already.
    pub async fn exchange(
        &self,
        query: &Query,
        patience: Patience,
        is_reused: impl Fn(bool),
    ) -> Result<Vec<u8>, ExchangeError> {
        while let Some(connection) = self.take() {
            is_reused(true);
            match self.ask(connection, query, patience).await {
                Err(error) if error.is_closed() => {}
                other => return other,
            }
        }
        is_reused(false);
        let connection = self.dial(patience).await?;
        self.ask(connection, query, patience).await
    }

    async fn ask(
        &self,
        mut connection: Connection,
        query: &Query,
        patience: Patience,
    ) -> Result<Vec<u8>, ExchangeError> {
        let id = rand::random();
        let mut message = query.with_id(id, PREFIX_BYTES);
        // A question and options: their lengths have 16 bits, their sum must too.
        let length = u16::try_from(query.bytes())
            .map_err(|_| self.failed(&connection, "write", too_long()))?;
        message[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        let stream = &mut connection.stream;
        let exchange = async {
            stream.write_all(&message).await.map_err(|e| ("write", e))?;
            stream.flush().await.map_err(|e| ("write", e))?;
            loop {
                let reply = read(stream).await.map_err(|e| ("read", e))?;
                if query.is_answered_by(id, &reply) {
                    return Ok(reply);
                }
            }
        };
        match timeout(patience.now(), exchange).await {
            Ok(Ok(reply)) => {
                self.keep(connection);
                Ok(reply)
            }
            Ok(Err((_, error))) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ExchangeError::Closed)
            }
            Ok(Err((operation, error))) => {
                Err(self.failed(&connection, operation, Cause::System(operation, error)))
            }
            Err(_) => Err(self.failed(&connection, "read", Cause::Timeout)),
        }
    }

    fn failed(
        &self,
        connection: &Connection,
        operation: &'static str,
        cause: Cause,
    ) -> ExchangeError {
        ExchangeError::Transfer {
            operation,
            network: "tcp",
            from: connection.from,
            to: self.config.to,
            cause,
        }
    }

    async fn dial(&self, patience: Patience) -> Result<Connection, ExchangeError> {
        let failed = |cause| ExchangeError::Dial {
            network: "tcp",
            to: self.config.to,
            cause,
        };
        let stream = match timeout(patience.now(), self.connect()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(Cause::System("connect", error))),
            Err(_) => return Err(failed(Cause::Timeout)),
        };
        let from = (stream.local_addr()).map_err(|e| failed(Cause::System("getsockname", e)))?;
        let stream: Box<dyn Stream> = match &self.config.tls {
            None => Box::new(stream),
            Some(tls) => match timeout(patience.now(), tls.handshake(stream)).await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(error)) => return Err(ExchangeError::Tls(error)),
                Err(_) => return Err(failed(Cause::Timeout)),
            },
        };
        let now = Instant::now();
        Ok(Connection {
            stream,
            from,
            opened: now,
            used: now,
        })
    }

    async fn connect(&self) -> io::Result<tokio::net::TcpStream> {
        let socket = match self.config.to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.config.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(self.config.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The connection that has waited longest.
    fn take(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        self.config.drop_old(&mut idle);
        idle.pop_front()
    }

    fn keep(&self, mut connection: Connection) {
        connection.used = Instant::now();
        let mut idle = lock(&self.idle);
        if (self.config.max_idle).is_some_and(|max| idle.len() >= max) {
            return;
        }
        let is_first = idle.is_empty();
        idle.push_back(connection);
        drop(idle);
        if is_first {
            self.sweep();
        }
    }

    /// Closes what has waited too long, until nothing waits.
    fn sweep(&self) {
        let (idle, config) = (Arc::downgrade(&self.idle), self.config.clone());
        tokio::spawn(async move {
            loop {
                // Not at once where `expire` is 0.
                tokio::time::sleep(config.expire.max(Duration::from_millis(10))).await;
                let Some(idle) = idle.upgrade() else { return };
                let mut idle = lock(&idle);
                config.drop_old(&mut idle);
                if idle.is_empty() {
                    return;
                }
            }
        });
    }
}

impl StreamConfig {
    fn drop_old(&self, idle: &mut VecDeque<Connection>) {
        idle.retain(|connection| {
            connection.used.elapsed() <= self.expire
                && (self.max_age).is_none_or(|max| connection.opened.elapsed() <= max)
        });
    }
}

impl ExchangeError {
    /// Whether the other side had closed the connection, so that another one may do.
    fn is_closed(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match self {
            ExchangeError::Closed => true,
            ExchangeError::Transfer {
                cause: Cause::System(_, error),
                ..
            } => matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset
            ),
            _ => false,
        }
    }
}

async fn read(stream: &mut Box<dyn Stream>) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn too_long() -> Cause {
    Cause::System("write", io::Error::other("message too long"))
}

fn lock(idle: &Mutex<VecDeque<Connection>>) -> MutexGuard<'_, VecDeque<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
