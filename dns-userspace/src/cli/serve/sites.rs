//! What is served where: from the command line's own options, or from a Corefile.

use std::{
    io::IsTerminal as _,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, RwLock},
};

use anyhow::anyhow;
use hickory_proto::rr::Name;

use super::{
    allowances::Allowances,
    live::{Lameduck, Live, is_taken},
};
use crate::{
    corefile::Corefile,
    plugin::{
        Environment,
        builder::{Failures, PORT_DEFAULT},
        clusters::Clusters,
        kubernetes::{ApiServer, Programming},
    },
    server::{Allowance, Servers},
    socket::{Only, Server, ServerConfig, Service},
    source::cluster::ClusterMetrics,
    zone::{Zone, ZoneConfig},
};

/// Sockets with what answers there, and the zones that answers are made of.
pub(in crate::cli) struct Sites {
    pub sockets: Vec<(Site, Arc<dyn Service>)>,
    /// What a Corefile says, which may change.
    pub live: Option<Live>,
    /// To be filled from the cluster.
    pub zones: Clusters,
    /// What the kernel may answer, now and after each change.
    pub allowances: Allowances,
    /// What a plugin cannot survive.
    pub failures: Failures,
    /// How it ends.
    pub lameduck: Lameduck,
    /// Where the cluster is, if a plugin says so.
    pub api_server: ApiServer,
    /// What is counted of it.
    pub cluster_metrics: ClusterMetrics,
    /// How long it takes until DNS has a change.
    pub programming: Programming,
}

/// Sockets.
pub(in crate::cli) enum Site {
    /// That are bound.
    Bound(Server),
    /// That another daemon has yet, and that are to be bound beside its own.
    Later(ServerConfig),
}

impl Site {
    fn new(config: ServerConfig, takes_over: bool) -> anyhow::Result<Self> {
        match Server::bind(config.clone()).map_err(anyhow::Error::from) {
            Ok(server) => Ok(Site::Bound(server)),
            Err(error) if takes_over && is_taken(&error) => Ok(Site::Later(config)),
            Err(error) => Err(error),
        }
    }

    /// What is not bound yet is bound when `ready`, beside the other daemon's, and gets a part of the queries
    /// from then on. `None`: it is never ready.
    pub async fn open(self, ready: impl Future<Output = bool>) -> anyhow::Result<Option<Server>> {
        match self {
            Site::Bound(server) => Ok(Some(server)),
            Site::Later(_) if !ready.await => Ok(None),
            Site::Later(config) => {
                let beside_ours = true;
                Ok(Some(Server::bind(ServerConfig {
                    beside_ours,
                    ..config
                })?))
            }
        }
    }

    fn addresses(&self) -> &[SocketAddr] {
        match self {
            Site::Bound(server) => server.addresses(),
            Site::Later(config) => &config.listen,
        }
    }
}

impl Sites {
    /// One zone, without plugins. With `takes_over` another daemon may have the addresses yet.
    pub fn of_zone(
        listen: Vec<SocketAddr>,
        config: ZoneConfig,
        rotate: bool,
        takes_over: bool,
    ) -> anyhow::Result<Self> {
        let zone = Arc::new(RwLock::new(Zone::new(config)));
        let config = ServerConfig {
            listen,
            ..ServerConfig::default()
        };
        Ok(Sites {
            sockets: vec![(
                Site::new(config, takes_over)?,
                Arc::new(Only {
                    resolver: Arc::clone(&zone),
                    rotate,
                }),
            )],
            allowances: Allowances::always(Allowance {
                zone: Arc::clone(&zone),
                claims: Vec::new(),
                rotate,
                owners: Vec::new(),
            }),
            live: None,
            zones: vec![zone].into(),
            failures: Failures::default(),
            lameduck: Lameduck::default(),
            api_server: ApiServer::default(),
            cluster_metrics: ClusterMetrics::default(),
            programming: Programming::default(),
        })
    }

    /// What a Corefile says.
    pub fn of_corefile(
        path: &Path,
        answer_for: &[IpAddr],
        takes_over: bool,
    ) -> anyhow::Result<Self> {
        let environment = Environment::default();
        let (sha512, servers) = read(path, &environment)?;
        let servers = Arc::new(servers);
        if environment.clusters().is_empty() {
            // The contents are kept for a `kubernetes` to come.
            environment.cluster(ZoneConfig {
                origin: Name::from_ascii("cluster.local.")?,
                ..ZoneConfig::default()
            })?;
        }
        let allowances =
            Allowances::of_servers(Arc::clone(&servers), &environment, answer_for.to_vec());
        let (api_server, cluster_metrics) =
            (environment.api_server.clone(), environment.metrics.of());
        let programming = environment.metrics.of();
        let live = Live::open(
            path,
            environment,
            allowances.clone(),
            (sha512, servers),
            takes_over,
        )?;
        Ok(Sites {
            sockets: Vec::new(),
            zones: live.zones(),
            failures: live.failures(),
            lameduck: live.lameduck(),
            live: Some(live),
            allowances,
            cluster_metrics,
            programming,
            api_server,
        })
    }

    /// Nothing is served: somebody else does, and what that would answer is answered in the kernel.
    pub fn of_others(environment: &Environment, allowances: Allowances) -> Self {
        Sites {
            sockets: Vec::new(),
            live: None,
            zones: environment.cluster_zones.clone(),
            allowances,
            failures: environment.failures(),
            lameduck: Lameduck::default(),
            api_server: environment.api_server.clone(),
            cluster_metrics: environment.metrics.of(),
            programming: environment.metrics.of(),
        }
    }

    /// The addresses that are served.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let sockets = self.sockets.iter().flat_map(|(site, _)| site.addresses());
        let of_live = self.live.iter().flat_map(Live::opened);
        let of_live = of_live.flat_map(Server::addresses);
        sockets.chain(of_live).copied().collect()
    }
}

/// Reads a Corefile and builds its plugins; the error shows the place. With its digest.
pub(in crate::cli) fn read(
    path: &Path,
    environment: &Environment,
) -> anyhow::Result<(String, Servers)> {
    let color = std::io::stderr().is_terminal();
    let shown = |error: crate::corefile::CorefileError| {
        anyhow!(
            "the configuration cannot be used\n{}",
            error.report(color).trim_end()
        )
    };
    let corefile = Corefile::read(path).map_err(shown)?;
    for warning in &corefile.warnings {
        tracing::warn!("{warning}");
    }
    let servers = Servers::build(&corefile, PORT_DEFAULT, environment).map_err(shown)?;
    Ok((corefile.sha512(), servers))
}
