//! DNS over TCP (RFC 7766): messages with a two-byte length before each, on connections that stay.
//!
//! Each connection is a task of its own, so a client that sends or reads slowly delays nobody.
//! Queries of one connection are answered in their order, without waiting for the previous reply
//! to be acknowledged; the client may send as many at once as it likes (section 6.2.1.1).

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{DropReason, Path, Service, SocketCounters, Transport, answer};

/// RFC 7766 section 6.2.3: "on the order of a few seconds".
const IDLE_SECONDS: u64 = 10;
/// File descriptors are what a flood of connections would take from the rest of the daemon.
const CONNECTIONS_TOTAL_MAX: usize = 512;
/// Resolvers open one or two connections; several of them may sit behind one address.
const CONNECTIONS_PER_CLIENT_MAX: usize = 32;
/// Name, type, class and a padded OPT (RFC 8467: blocks of 128) stay far below.
const QUERY_BYTES_MAX: usize = 4096;
/// After a failed accept: out of file descriptors, mostly, which takes a while to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long replies under way may take after a stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What one server lets its TCP clients take.
#[derive(Clone, Copy, Debug)]
pub struct TcpLimits {
    /// The first query must come whole within this time.
    pub read: Duration,
    /// A reply must be taken within this time.
    pub write: Duration,
    /// Another query must come whole within this time.
    pub idle: Duration,
    /// Queries of one connection, which is closed behind the last one; `None`: without limit.
    pub queries: Option<usize>,
    /// Connections at a time, of all clients to one listening address.
    pub connections_total: usize,
    /// Connections at a time, of one client address.
    pub connections_per_client: usize,
    /// The longest query; a longer one ends the connection.
    pub query_bytes: usize,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(IDLE_SECONDS),
            write: Duration::from_secs(IDLE_SECONDS),
            idle: Duration::from_secs(IDLE_SECONDS),
            queries: None,
            connections_total: CONNECTIONS_TOTAL_MAX,
            connections_per_client: CONNECTIONS_PER_CLIENT_MAX,
            query_bytes: QUERY_BYTES_MAX,
        }
    }
}

/// What every connection of a listener needs.
#[derive(Clone)]
pub(super) struct Context {
    pub local: SocketAddr,
    pub service: Arc<dyn Service>,
    pub counters: Arc<SocketCounters>,
    pub limits: TcpLimits,
    pub stop: CancellationToken,
}

/// Serves until stopped; replies under way get [`STOP_GRACE`] to leave.
pub(super) async fn serve(listener: TcpListener, context: Context) {
    let clients = Clients::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = context.stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accepting over TCP");
                context.counters.dropped(DropReason::ReceiveFailed);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match clients.admit(client.ip(), context.limits) {
            Ok(admission) => {
                context.counters.connected();
                let context = context.clone();
                connections.spawn(async move {
                    if let Err(reason) = serve_connection(stream, client, &context).await {
                        context.counters.dropped(reason);
                    }
                    drop(admission);
                });
            }
            // Closing is all that a refused client is told.
            Err(reason) => context.counters.dropped(reason),
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_GRACE, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// Answers until the client closes (`Ok`) or is cut off.
async fn serve_connection(
    stream: TcpStream,
    client: SocketAddr,
    context: &Context,
) -> Result<(), DropReason> {
    // Replies are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    let mut message = Vec::new();
    let limits = context.limits;
    let mut wait = limits.read;
    for _ in 0..limits.queries.unwrap_or(usize::MAX) {
        let read = read_message(&mut stream, &mut message, limits.query_bytes);
        let read = tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            read = timeout(wait, read) => read,
        };
        wait = limits.idle;
        match read {
            Err(_elapsed) => return Err(DropReason::Idle),
            Ok(Err(ReadError::TooLong)) => return Err(DropReason::TooLong),
            Ok(Err(ReadError::Io(error))) => {
                tracing::debug!(%client, %error, "reading over TCP");
                return Err(DropReason::ReceiveFailed);
            }
            Ok(Ok(false)) => return Ok(()),
            Ok(Ok(true)) => {}
        }
        context.counters.query(Transport::Tcp);
        let path = Path {
            client,
            local: context.local,
            transport: Transport::Tcp,
        };
        let reply = match answer(&message, path, &*context.service).await {
            Ok(reply) => reply,
            Err(reason) => {
                context.counters.dropped(reason);
                continue;
            }
        };
        context.counters.answer(reply.sent());
        for message in std::iter::once(&reply.bytes).chain(&reply.further) {
            // Prefix and message in one write (RFC 7766 section 8).
            let mut framed = Vec::with_capacity(2 + message.len());
            let length = u16::try_from(message.len()).map_err(|_| DropReason::SendFailed)?;
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(message);
            match timeout(limits.write, stream.write_all(&framed)).await {
                Err(_elapsed) => return Err(DropReason::Idle),
                Ok(Err(error)) => {
                    tracing::debug!(%client, %error, "sending over TCP");
                    return Err(DropReason::SendFailed);
                }
                Ok(Ok(())) => {}
            }
        }
    }
    Ok(())
}

enum ReadError {
    TooLong,
    Io(io::Error),
}

/// Reads one message, however its bytes are cut into segments; `false` is the end of the stream
/// between messages.
async fn read_message(
    stream: &mut BufReader<TcpStream>,
    message: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, ReadError> {
    let mut prefix = [0; 2];
    if stream.read(&mut prefix[..1]).await.map_err(ReadError::Io)? == 0 {
        return Ok(false);
    }
    stream
        .read_exact(&mut prefix[1..])
        .await
        .map_err(ReadError::Io)?;
    let length = usize::from(u16::from_be_bytes(prefix));
    if length > bytes_max {
        return Err(ReadError::TooLong);
    }
    message.resize(length, 0);
    stream.read_exact(message).await.map_err(ReadError::Io)?;
    Ok(true)
}

/// The connections that are open, by client address.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Clients {
    /// Counts a connection in, or says which limit it is over.
    fn admit(&self, client: IpAddr, limits: TcpLimits) -> Result<Admission, DropReason> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // At most `connections_total` numbers to add.
        if open.values().sum::<usize>() >= limits.connections_total {
            return Err(DropReason::ConnectionsTotal);
        }
        let own = open.get(&client).copied().unwrap_or(0);
        if own >= limits.connections_per_client {
            return Err(DropReason::ConnectionsPerClient);
        }
        open.insert(client, own + 1);
        Ok(Admission {
            clients: self.clone(),
            client,
        })
    }
}

/// A connection that is counted until this is dropped.
struct Admission {
    clients: Clients,
    client: IpAddr,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self
            .clients
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.client);
            }
        }
    }
}
