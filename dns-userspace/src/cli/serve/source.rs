//! Where the cluster comes from: a directory of manifests, or an API server.

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
};

use anyhow::{anyhow, bail};
use clap::Args;
use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::sites::Sites;
use crate::{
    source::{
        Batch, Source,
        cluster::{Access, Cluster, Connection, Slices, Wanted},
        manifests::Manifests,
    },
    zone::{Pods, Zone},
};

/// What to say where nothing says where the cluster is.
pub(in crate::cli) const NO_SOURCE: &str = "where is the cluster? Give --manifests a directory or --kubeconfig a file; in a pod of the cluster neither is needed";

/// The cluster, on the command line.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(in crate::cli) struct SourceArgs {
    /// Directory of Kubernetes manifests (*.yaml, *.yml, *.json, at any depth) in place of an API server; it is watched.
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    manifests: Option<PathBuf>,

    /// Assign addresses of this network to Services of manifests without one. May be given for each family.
    #[arg(long, value_name = "CIDR", requires = "manifests")]
    service_cidr: Vec<IpNet>,

    #[command(flatten)]
    api_server: ApiServerArgs,
}

/// The API server, on the command line.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(in crate::cli) struct ApiServerArgs {
    /// File that says where the API server is, as `kubectl` reads it [default in a pod: its service account].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
}

impl ApiServerArgs {
    /// How it is reached, as far as the command line and the environment say.
    pub fn access(&self) -> Option<Access> {
        let in_cluster = || Access::is_in_cluster().then_some(Access::InCluster);
        self.named().or_else(in_cluster)
    }

    fn named(&self) -> Option<Access> {
        let context = self.context.clone();
        (self.kubeconfig.clone()).map(|file| Access::Kubeconfig { file, context })
    }
}

/// A source, chosen.
pub(in crate::cli) enum Origin {
    Manifests(Manifests),
    Cluster(Cluster),
}

impl SourceArgs {
    /// Whether there is a cluster, as far as the command line and the environment say.
    pub fn is_known(&self) -> bool {
        self.manifests.is_some() || self.access().is_some()
    }

    /// Whether it is a directory, and not an API server.
    pub fn is_directory(&self) -> bool {
        self.manifests.is_some()
    }

    /// How the API server is reached, unless a Corefile says it.
    pub fn access(&self) -> Option<Access> {
        self.api_server.access()
    }

    /// The source. There is one for all zones, whatever a Corefile says in several places.
    pub async fn origin(self, sites: &Sites) -> anyhow::Result<Origin> {
        let (corefiles, limits) = sites.api_server.named();
        if let Some(directory) = self.manifests {
            if let Some(access) = corefiles {
                tracing::warn!("{access} is not asked: the cluster is read from --manifests");
            }
            return Ok(Origin::Manifests(Manifests::new(
                directory,
                self.service_cidr,
            )));
        }
        let access = match (self.api_server.named(), corefiles) {
            (Some(own), Some(other)) if own != other => {
                bail!("{own} and, in the Corefile, {other}: there is one cluster, so name one")
            }
            (Some(access), _) | (None, Some(access)) => access,
            (None, None) if Access::is_in_cluster() => Access::InCluster,
            (None, None) => return Err(anyhow!(NO_SOURCE)),
        };
        tracing::info!("following {access}");
        let connection = Connection::new(access, limits).await?;
        Ok(Origin::of_cluster(connection, sites))
    }
}

impl Origin {
    /// What the zones of `sites` want of a cluster.
    pub fn of_cluster(connection: Connection, sites: &Sites) -> Self {
        Self::Cluster(Cluster::new(
            connection,
            wanted(&sites.zones.hold()),
            sites.cluster_metrics.clone(),
        ))
    }
}

impl Source for Origin {
    async fn run(
        self,
        changes: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        match self {
            Self::Manifests(manifests) => manifests.run(changes, stop).await,
            Self::Cluster(cluster) => cluster.run(changes, stop).await,
        }
    }
}

/// What zones want of a cluster.
pub(in crate::cli) fn wanted(zones: &[Arc<RwLock<Zone>>]) -> Wanted {
    let mut wanted = Wanted {
        slices: Slices::Nothing,
        pods: false,
        imports: false,
    };
    // One that is half changed has its configuration all the same.
    for zone in zones.iter().filter_map(|zone| zone.read().ok()) {
        let shown = &zone.config().shown;
        wanted.pods |= shown.pods == Pods::Verified;
        wanted.imports |= shown.imports;
        wanted.slices = wanted.slices.max(if shown.no_endpoints {
            Slices::Nothing
        } else if shown.ignore_empty_service || shown.endpoint_pod_names {
            Slices::All
        } else {
            Slices::Headless
        });
    }
    wanted
}
