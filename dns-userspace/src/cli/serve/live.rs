//! A Corefile as it is served, and how the next one takes over without a query being lost.
//!
//! ```text
//! read, build        a fault: the one before goes on
//! open what is new   an address that cannot be had: the one before goes on
//! take over          at addresses that stay the plugins change under the open sockets; what is gone
//!                    answers what it has and closes
//! ```
//!
//! It is looked for where `reload` says so, and on SIGUSR1. What plugins count, and the names of the cluster, stay.

mod lameduck;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::allowances::Allowances;
use crate::{
    corefile::{Corefile, Transport},
    http, logging,
    plugin::{
        Environment,
        builder::{Failures, PORT_DEFAULT},
        clusters::Clusters,
        metrics::Families,
        prometheus::{DnsCounters, Kernel},
        wanted::{Pages, Wanted},
    },
    server::{Listen, Servers, Serving},
    socket::{Server, ServerConfig, SocketCounters},
    zone::Zone,
};
pub(in crate::cli) use lameduck::Lameduck;

const TARGET: &str = "plugin/reload";

/// What is served, or is about to be.
pub(in crate::cli) struct Live {
    path: PathBuf,
    environment: Environment,
    allowances: Allowances,
    sha512: String,
    /// Looks for changes so often.
    every: Option<Duration>,
    sockets: BTreeMap<Listen, Socket>,
    pages: BTreeMap<String, HttpSocket>,
    /// What goes on while this configuration is in use.
    running: JoinSet<()>,
    lameduck: Lameduck,
    counters: ReloadCounters,
    signals: Signals,
    /// The first configuration, until it is served.
    first: Option<(Next, Opened)>,
    /// The same where another daemon has its addresses yet.
    later: Option<Arc<Servers>>,
}

/// Where it is served.
struct Stage {
    counters: Arc<SocketCounters>,
    stop: CancellationToken,
    /// Of every socket that is open.
    tasks: JoinSet<()>,
}

/// An address with what is served there.
struct Socket {
    serving: Arc<Serving>,
    stop: CancellationToken,
}

struct HttpSocket {
    pages: Arc<ArcSwap<Pages>>,
    stop: CancellationToken,
}

/// A configuration that can take over: all that it needs is there.
struct Next {
    servers: Arc<Servers>,
    wanted: Wanted,
}

/// What it needs and was not there yet.
#[derive(Default)]
struct Opened {
    sockets: Vec<(Listen, Server)>,
    pages: Vec<(String, http::Listener)>,
}

/// Those that end other processes.
struct Signals {
    reload: Signal,
    /// Without effect, as in `CoreDNS`.
    _hangup: Signal,
}

#[derive(Clone, Default)]
struct ReloadCounters {
    failed: Counter,
    version: Family<[(&'static str, String); 2], Gauge>,
}

impl Families for ReloadCounters {
    fn register(&self, registry: &mut Registry) {
        let failed = "Configurations that could not take over";
        registry.register("coredns_reload_failed", failed, self.failed.clone());
        let version = "The digest of the configuration, once it was reloaded";
        registry.register("coredns_reload_version_info", version, self.version.clone());
    }
}

impl Live {
    /// Binds what a configuration needs. What another daemon has at the moment is bound later, beside that
    /// ([`Self::open_beside`]), if this one is to take over.
    pub fn open(
        path: &Path,
        environment: Environment,
        allowances: Allowances,
        (sha512, servers): (String, Arc<Servers>),
        takes_over: bool,
    ) -> anyhow::Result<Self> {
        let mut live = Live {
            path: path.to_owned(),
            allowances,
            sha512,
            every: None,
            sockets: BTreeMap::new(),
            pages: BTreeMap::new(),
            running: JoinSet::new(),
            lameduck: Lameduck::new(environment.stopping.clone()),
            counters: environment.metrics.of(),
            signals: Signals {
                reload: signal(SignalKind::user_defined1())?,
                _hangup: signal(SignalKind::hangup())?,
            },
            first: None,
            later: None,
            environment,
        };
        let mut opened = Opened::default();
        match live.prepare(Arc::clone(&servers), &mut opened, false) {
            Ok(first) => live.first = Some((first, opened)),
            Err(error) if takes_over && is_taken(&error) => live.later = Some(servers),
            Err(error) => return Err(error),
        }
        Ok(live)
    }

    /// Whether another daemon has its addresses yet.
    pub fn is_later(&self) -> bool {
        self.later.is_some()
    }

    /// Binds what it needs beside another daemon of this user: from here on it gets a part of the queries.
    pub fn open_beside(&mut self) -> anyhow::Result<()> {
        if let Some(servers) = self.later.take() {
            let mut opened = Opened::default();
            let first = self.prepare(servers, &mut opened, true)?;
            self.first = Some((first, opened));
        }
        Ok(())
    }

    /// The sockets that are open and not served yet.
    pub fn opened(&self) -> impl Iterator<Item = &Server> {
        let first = self.first.iter().flat_map(|(_, opened)| &opened.sockets);
        first.map(|(_, server)| server)
    }

    /// What the kernel counts is among the metrics.
    pub fn count(&self, kernel: Arc<dyn Kernel>) {
        let counters: DnsCounters = self.environment.metrics.of();
        counters.kernel().set(kernel);
    }

    /// To be filled from the cluster.
    pub fn zones(&self) -> Clusters {
        self.environment.cluster_zones.clone()
    }

    /// What a plugin cannot survive.
    pub fn failures(&self) -> Failures {
        self.environment.failures()
    }

    /// How it ends.
    pub fn lameduck(&self) -> Lameduck {
        self.lameduck.clone()
    }

    /// Serves until `stop`.
    pub async fn run(mut self, counters: Arc<SocketCounters>, stop: CancellationToken) {
        let mut stage = Stage {
            counters,
            stop,
            tasks: JoinSet::new(),
        };
        self.begin(&mut stage);
        loop {
            let every = self.every;
            let tick = async {
                match every {
                    Some(every) => sleep(every).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stage.stop.cancelled() => break,
                () = tick => self.look(&mut stage),
                _ = self.signals.reload.recv() => {
                    tracing::info!("SIGUSR1: Reloading");
                    self.reload(&mut stage);
                }
                Some(_) = stage.tasks.join_next() => {}
            }
        }
        while stage.tasks.join_next().await.is_some() {}
    }

    /// Serves the first configuration.
    fn begin(&mut self, stage: &mut Stage) {
        if let Some((first, opened)) = self.first.take() {
            self.take_over(first, opened, stage);
        }
    }

    /// Reloads if the configuration has changed.
    fn look(&mut self, stage: &mut Stage) {
        match Corefile::read(&self.path) {
            Ok(corefile) if corefile.sha512() == self.sha512 => {}
            Ok(corefile) => self.change(&corefile, stage),
            Err(error) => tracing::warn!(target: TARGET, "Corefile parse failed: {error}"),
        }
    }

    /// Reloads.
    fn reload(&mut self, stage: &mut Stage) {
        match Corefile::read(&self.path) {
            Ok(corefile) => self.change(&corefile, stage),
            Err(error) => {
                self.counters.failed.inc();
                tracing::error!("SIGUSR1: {error}");
            }
        }
    }

    fn change(&mut self, corefile: &Corefile, stage: &mut Stage) {
        tracing::info!("Reloading");
        for warning in &corefile.warnings {
            tracing::warn!("{warning}");
        }
        // One that cannot take over is not tried again until it has changed.
        let before = std::mem::replace(&mut self.sha512, corefile.sha512());
        let labels = |sha512: String| [("hash", "sha512".to_owned()), ("value", sha512)];
        self.counters.version.remove(&labels(before));
        let version = labels(self.sha512.clone());
        self.counters.version.get_or_create(&version).set(1);
        let mut opened = Opened::default();
        match self.next(corefile, &mut opened) {
            Ok(next) => {
                let is_watched = next.wanted.reload.is_some();
                self.take_over(next, opened, stage);
                if is_watched {
                    let sha512 = &self.sha512;
                    tracing::info!(target: TARGET, "Running configuration SHA512 = {sha512}");
                }
                tracing::info!("Reloading complete");
            }
            Err(error) => {
                self.give_back(opened, stage);
                self.counters.failed.inc();
                tracing::error!(target: TARGET, "Corefile changed but reload failed: {error:#}");
            }
        }
        self.environment.cluster_zones.forget_unused();
    }

    fn next(&self, corefile: &Corefile, opened: &mut Opened) -> anyhow::Result<Next> {
        let servers = Servers::build(corefile, PORT_DEFAULT, &self.environment)
            .map_err(|error| anyhow!("{error}"))?;
        self.prepare(Arc::new(servers), opened, true)
    }

    /// Binds what is not bound yet.
    fn prepare(
        &self,
        servers: Arc<Servers>,
        opened: &mut Opened,
        beside_ours: bool,
    ) -> anyhow::Result<Next> {
        let wanted = servers.wanted();
        for (listen, server) in servers.iter() {
            if !self.sockets.contains_key(listen) {
                let config = ServerConfig {
                    listen: vec![listen.address],
                    udp_sockets: match listen.transport {
                        Transport::Dns => server.udp_sockets(),
                        Transport::Tls => Some(0),
                    },
                    beside_ours,
                    tcp_limits: server.tcp_limits(),
                };
                opened.sockets.push((*listen, Server::bind(config)?));
            }
        }
        for address in wanted.pages.keys() {
            if !self.pages.contains_key(address) {
                let listener = http::Listener::bind(address, beside_ours)
                    .with_context(|| format!("cannot listen on {address} (HTTP)"))?;
                opened.pages.push((address.clone(), listener));
            }
        }
        Ok(Next { servers, wanted })
    }

    /// Sockets are not needed after all. One at an address, beside one at all addresses, has got queries of that.
    fn give_back(&self, opened: Opened, stage: &mut Stage) {
        for (listen, server) in opened.sockets {
            let is_beside = |other: &&Listen| other.address.port() == listen.address.port();
            let beside = self.sockets.keys().find(is_beside);
            if let Some(socket) = beside.and_then(|beside| self.sockets.get(beside)) {
                let stopped = CancellationToken::new();
                stopped.cancel();
                let service = Arc::clone(&socket.serving);
                (stage.tasks).spawn(server.run(service, Arc::clone(&stage.counters), stopped));
            }
        }
    }

    /// From here on nothing can fail.
    fn take_over(&mut self, next: Next, opened: Opened, stage: &mut Stage) {
        let Next { servers, wanted } = next;
        let mut sockets: BTreeMap<Listen, Server> = opened.sockets.into_iter().collect();
        for (listen, server) in servers.iter() {
            if let Some(socket) = self.sockets.get(listen) {
                socket.serving.set(Arc::clone(server));
            } else if let Some(bound) = sockets.remove(listen) {
                let socket = Socket {
                    serving: Arc::new(Serving::new(Arc::clone(server))),
                    stop: stage.stop.child_token(),
                };
                let service = Arc::clone(&socket.serving);
                let counters = Arc::clone(&stage.counters);
                (stage.tasks).spawn(bound.run(service, counters, socket.stop.clone()));
                self.sockets.insert(*listen, socket);
            }
        }
        self.serve_pages(wanted.pages, opened.pages, stage);
        // Only now, since the new sockets take what comes from now on.
        let is_served = |listen: &Listen| servers.iter().any(|(served, _)| served == listen);
        for (_, gone) in (self.sockets).extract_if(.., |listen, _| !is_served(listen)) {
            gone.stop.cancel();
        }
        self.running = wanted.running.into_iter().collect();
        self.every = wanted.reload;
        self.lameduck.set(wanted.lameduck);
        logging::details(wanted.debug);
        let zones = zones_of(&servers, self.environment.clusters());
        self.allowances.serve(Arc::clone(&servers), zones);
        servers.start();
    }

    fn serve_pages(
        &mut self,
        all: BTreeMap<String, Pages>,
        opened: Vec<(String, http::Listener)>,
        stage: &mut Stage,
    ) {
        let mut opened: BTreeMap<String, http::Listener> = opened.into_iter().collect();
        for (_, gone) in (self.pages).extract_if(.., |address, _| !all.contains_key(address)) {
            gone.stop.cancel();
        }
        for (address, pages) in all {
            let pages = Arc::new(pages);
            if let Some(socket) = self.pages.get(&address) {
                socket.pages.store(pages);
            } else if let Some(listener) = opened.remove(&address) {
                let socket = HttpSocket {
                    pages: Arc::new(ArcSwap::new(pages)),
                    stop: stage.stop.child_token(),
                };
                let running = listener.run(Arc::clone(&socket.pages), socket.stop.clone());
                stage.tasks.spawn(running);
                self.pages.insert(address, socket);
            }
        }
    }
}

/// Whether it fails because somebody else listens there.
pub(super) fn is_taken(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &std::io::Error| cause.kind() == std::io::ErrorKind::AddrInUse)
}

/// The zones that plugins answer from.
fn zones_of(servers: &Servers, mut all: Vec<Arc<RwLock<Zone>>>) -> Vec<Arc<RwLock<Zone>>> {
    all.retain(|zone| {
        let mut plugins = servers.iter().flat_map(|(_, server)| {
            let sites = server.sites();
            sites.flat_map(|(_, plugins)| plugins)
        });
        plugins.any(|plugin| plugin.cluster().is_some_and(|own| Arc::ptr_eq(own, zone)))
    });
    all
}

#[cfg(test)]
mod tests;
