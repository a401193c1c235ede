//! What checks know: the command line, and what the ones before have learnt.

use std::{net::IpAddr, sync::Arc, time::Instant};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;

use super::Args;
use crate::{
    cli::accelerate::objects::Wanted, control::Report, corefile::Corefile, kernel::survey::Seen,
    source::cluster::Connection,
};

/// What is not there yet, said to who needs it.
const NOT_LOOKED_AT: &str = "it was not looked at";

pub(super) struct Surroundings {
    pub args: Arc<Args>,
    /// When the check that runs has to be done.
    pub until: Instant,
    /// What a running daemon says.
    pub daemon: Option<Report>,
    /// The devices that were selected.
    pub devices: Vec<Seen>,
    /// A connection to an API server that answers; or why there is none.
    pub connection: Result<Connection, String>,
    /// To which addresses pods send their queries.
    pub dns_addresses: Vec<IpAddr>,
    /// Those of the servers behind them.
    pub endpoints: Vec<IpAddr>,
    /// What the cluster's DNS serves; or why that is not known.
    pub corefile: Result<Corefile, String>,
    /// It is a file, of a server on this very network; not of one in a pod.
    pub is_served_here: bool,
}

impl Surroundings {
    pub fn new(args: Args) -> Self {
        Surroundings {
            dns_addresses: args.dns_address.clone(),
            args: Arc::new(args),
            until: Instant::now(),
            daemon: None,
            devices: Vec::new(),
            connection: Err(NOT_LOOKED_AT.to_owned()),
            endpoints: Vec::new(),
            corefile: Err(NOT_LOOKED_AT.to_owned()),
            is_served_here: false,
        }
    }

    /// Waits for an answer for as long as the check has.
    pub async fn within<T>(&self, answer: impl Future<Output = T>) -> Result<T, String> {
        tokio::time::timeout_at(self.until.into(), answer)
            .await
            .map_err(|_| format!("no answer within {} s", self.args.timeout))
    }

    /// Objects of the API server; by namespace, or of all namespaces.
    pub async fn list<K>(&self, namespace: Option<&str>, wanted: &Wanted) -> Result<Vec<K>, String>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let client = self.connection.clone()?.client();
        let api: Api<K> = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let list = self
            .within(async { api.list(&wanted.list()).await })
            .await?;
        Ok(list.map_err(|error| said(&error))?.items)
    }

    /// The networks of this node's pods; or why they are not known.
    pub async fn pod_networks(&self) -> Result<Vec<IpNet>, String> {
        const GIVE: &str = "give it with --pod-cidr";
        if !self.args.pod_cidr.is_empty() {
            return Ok(self.args.pod_cidr.clone());
        }
        let name = self.node_name();
        let api: Api<Node> = Api::all(self.connection.clone()?.client());
        let node = self.within(async { api.get(&name).await }).await?;
        let node = node
            .map_err(|error| format!("{} ({GIVE}, or name the node with --node)", said(&error)))?;
        let spec = node.spec.unwrap_or_default();
        let networks = spec.pod_cidrs.unwrap_or_default();
        let networks: Vec<IpNet> = networks
            .iter()
            .chain(spec.pod_cidr.as_ref().filter(|_| networks.is_empty()))
            .filter_map(|text| text.parse().ok())
            .collect();
        if networks.is_empty() {
            return Err(format!("the node {name} has no podCIDR ({GIVE})"));
        }
        Ok(networks)
    }

    fn node_name(&self) -> String {
        let given = self.args.node.clone();
        let from_environment = || std::env::var("NODE_NAME").ok();
        let of_host = || {
            let names = nix::sys::utsname::uname().ok();
            names.map(|names| names.nodename().to_string_lossy().into_owned())
        };
        (given.or_else(from_environment).or_else(of_host)).unwrap_or_default()
    }
}

/// What the API server, or the way to it, says.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(error) = cause {
                let words = error.to_string();
                if !text.contains(&words) {
                    text = format!("{text}: {words}");
                }
                cause = error.source();
            }
            text
        }
    }
}

/// Does what waits for the kernel in a thread of its own, which is left behind when the time is over.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| error.to_string())
}
