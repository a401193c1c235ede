//! DNS over TCP (RFC 7766): messages with a two-byte length before each, on connections that stay.
//!
//! Each connection is a task of its own ([`connection`](super::connection)), so a client that sends or reads slowly delays
//! nobody. What a client can take is limited: connections, of one address and of all, and the time that it lets one
//! wait.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{DropReason, Service, SocketCounters, channel::Channel, connection::Connection};

/// RFC 7766 section 6.2.3: "on the order of a few seconds".
const IDLE_SECONDS: u64 = 10;
/// File descriptors are what a flood of connections would take from the rest of the daemon. A connection that waits has
/// 2 KB of memory.
const CONNECTIONS_TOTAL_MAX: usize = 16_384;
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
        let limits = context.service.limits().unwrap_or(context.limits);
        match clients.admit(client.ip(), limits) {
            Ok(admission) => {
                context.counters.connected();
                // Replies are written whole; waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                let Ok(channel) = Channel::new(stream, context.service.tls()) else {
                    context.counters.dropped(DropReason::Tls);
                    continue;
                };
                let context = Context {
                    limits,
                    ..context.clone()
                };
                connections.spawn(async move {
                    if let Err(reason) = Connection::new(channel, client, &context).serve().await {
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

/// The connections that are open, by client address.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    total: usize,
    of_client: HashMap<IpAddr, usize>,
}

impl Clients {
    /// Counts a connection in, or says which limit it is over.
    fn admit(&self, client: IpAddr, limits: TcpLimits) -> Result<Admission, DropReason> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= limits.connections_total {
            return Err(DropReason::ConnectionsTotal);
        }
        let own = open.of_client.entry(client).or_default();
        if *own >= limits.connections_per_client {
            return Err(DropReason::ConnectionsPerClient);
        }
        *own += 1;
        open.total += 1;
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
        let open = self.clients.0.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(own) = open.of_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                open.of_client.remove(&self.client);
            }
        }
    }
}
