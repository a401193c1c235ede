//! What is served where: from the command line's own options, or from a Corefile.

use std::{
    io::IsTerminal as _,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, RwLock},
};

use anyhow::anyhow;

use super::allowances::Allowances;
use crate::{
    corefile::{Corefile, Transport},
    plugin::{
        Environment,
        builder::{Failures, PORT_DEFAULT},
    },
    server::{Allowance, Servers},
    socket::{Only, Server, ServerConfig, Service},
    zone::{Zone, ZoneConfig},
};

/// Sockets with what answers there, and the zones that answers are made of.
pub(super) struct Sites {
    pub sockets: Vec<(Server, Arc<dyn Service>)>,
    /// To be filled from the cluster.
    pub zones: Vec<Arc<RwLock<Zone>>>,
    /// What the kernel may answer, now and after each change.
    pub allowances: Allowances,
    /// What a plugin cannot survive.
    pub failures: Failures,
}

impl Sites {
    /// One zone, without plugins.
    pub fn of_zone(
        listen: Vec<SocketAddr>,
        config: ZoneConfig,
        rotate: bool,
    ) -> anyhow::Result<Self> {
        let zone = Arc::new(RwLock::new(Zone::new(config)));
        let config = ServerConfig {
            listen,
            ..ServerConfig::default()
        };
        Ok(Sites {
            sockets: vec![(
                Server::bind(config)?,
                Arc::new(Only {
                    resolver: Arc::clone(&zone),
                    rotate,
                }),
            )],
            allowances: Allowances::always(Allowance {
                zone: Arc::clone(&zone),
                claims: Vec::new(),
                rotate,
            }),
            zones: vec![zone],
            failures: Failures::default(),
        })
    }

    /// What a Corefile says.
    pub fn of_corefile(path: &Path, answer_for: &[IpAddr]) -> anyhow::Result<Self> {
        let environment = Environment::default();
        let servers = read(path, &environment)?;
        let mut sockets = Vec::new();
        for (listen, server) in servers.iter() {
            if listen.transport != Transport::Dns {
                return Err(anyhow!(
                    "{}: hopzero does not serve TLS yet",
                    listen.label()
                ));
            }
            let config = ServerConfig {
                listen: vec![listen.address],
                udp_sockets: server.udp_sockets(),
                tcp_limits: server.tcp_limits(),
            };
            let service: Arc<dyn Service> = Arc::clone(server) as _;
            sockets.push((Server::bind(config)?, service));
        }
        let servers = Arc::new(servers);
        let allowances =
            Allowances::of_servers(Arc::clone(&servers), &environment, answer_for.to_vec());
        servers.start();
        Ok(Sites {
            sockets,
            zones: environment.clusters(),
            allowances,
            failures: environment.failures(),
        })
    }

    /// The addresses that are served.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let sockets = self.sockets.iter();
        sockets
            .flat_map(|(server, _)| server.addresses())
            .copied()
            .collect()
    }
}

/// Reads a Corefile and builds its plugins; the error shows the place.
pub(in crate::cli) fn read(path: &Path, environment: &Environment) -> anyhow::Result<Servers> {
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
    Servers::build(&corefile, PORT_DEFAULT, environment).map_err(shown)
}
