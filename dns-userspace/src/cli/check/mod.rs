//! `hopzero check`: looks at a node and its cluster for what keeps DNS from working, and says what helps.

mod cluster;
mod configuration;
mod devices;
mod network;
mod node;
mod outcome;
mod resolvers;
mod surroundings;
mod table;
mod view;

use std::{io::Write as _, net::IpAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use ipnet::IpNet;

use self::{outcome::Status, surroundings::Surroundings};
use super::{
    accelerate::Named,
    serve::{kernel::parse_destination, source::ApiServerArgs},
};
use crate::{
    control,
    kernel::{Hook, Place},
};

const AFTER_HELP: &str = "\
It changes nothing. Where a daemon runs, that is asked for the devices that it tests itself; where none does, a
query is sent through each device, for an address that nobody asks, and what was attached for that is taken
away again.

Examples:
  On a node, in hopzero's pod:
    kubectl -n kube-system exec ds/hopzero -- /hopzero check

  On a node, before anything is installed (as root):
    hopzero check --kubeconfig /etc/kubernetes/kubelet.conf --attach pods:calico

  Before a configuration is used, with the servers that it forwards to:
    hopzero check --conf Corefile

  Only what is wrong, for a program:
    hopzero check --output json | jq '.checks[] | select(.status == \"failure\")'

docs/check.md has every check, what it means, and what helps.

Exit status: 0 if nothing failed (warnings are no failures, nor is what could not be looked at), 1 if
something did, 2 on a wrong command line.";

/// Diagnose a node: kernel, devices, cluster, configuration and upstreams.
#[derive(Clone, Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Form of what is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// What each check may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,

    /// A daemon's control socket; where one answers, its own tests of the devices are shown.
    #[arg(long, value_name = "PATH", default_value = control::PATH_DEFAULT)]
    control: PathBuf,

    /// Devices to look at, as in `hopzero serve --attach`.
    #[arg(
        long,
        value_name = "WHERE[,WHERE...]",
        value_delimiter = ',',
        default_value = "pods"
    )]
    attach: Vec<Place>,

    /// Devices that are left out, by a pattern of names. May be given several times.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', value_parser = crate::kernel::pattern)]
    exclude: Vec<glob::Pattern>,

    /// Where on a device a program is tried.
    #[arg(long, value_enum, default_value_t)]
    hook: Hook,

    #[command(flatten)]
    api_server: ApiServerArgs,

    /// The Service of the cluster's DNS.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        default_value = "kube-system/kube-dns",
        help_heading = "Cluster"
    )]
    service: Named,

    /// This node's name in the cluster [default: the environment's `NODE_NAME`, else the host's name].
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    node: Option<String>,

    /// The network of this node's pods [default: that of the Node object]. May be given for each family.
    #[arg(long, value_name = "CIDR", help_heading = "Cluster")]
    pod_cidr: Vec<IpNet>,

    /// Corefile of the cluster's DNS [default: /etc/hopzero/Corefile if there is one, as in the pods of `hopzero serve`; else that of
    /// --config-map].
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    conf: Option<PathBuf>,

    /// `ConfigMap` with the Corefile [default: kube-system/coredns].
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        conflicts_with = "conf",
        help_heading = "Configuration"
    )]
    config_map: Option<Named>,

    /// The resolv.conf that pods get which do not use the cluster's DNS, CoreDNS's own among them [default: in a pod
    /// /etc/resolv.conf, else the kubelet's resolvConf].
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    resolv_conf: Option<PathBuf>,

    /// Another address that pods rightly ask, such as that of a cache on the node, 169.254.20.10. May be given several times.
    #[arg(long, value_name = "IP", value_parser = parse_destination, help_heading = "Configuration")]
    dns_address: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// One document for programs.
    Json,
}

impl Args {
    fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let output = args.output;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let all = runtime.block_on(async { table::run(&mut Surroundings::new(args)).await });
    let text = match output {
        Output::Text => view::text(&all),
        Output::Json => format!("{:#}\n", view::document(&all)),
    };
    // Who reads only the beginning wants the exit status all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
    // A check that was given up may still wait in a thread.
    runtime.shutdown_background();
    Ok(match table::worst(&all) {
        Status::Failure => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}
