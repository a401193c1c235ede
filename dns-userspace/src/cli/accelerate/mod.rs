//! `hopzero accelerate`: answers in the kernel what the cluster's CoreDNS would answer, and leaves everything else to it.

pub(super) mod config;
pub(super) mod objects;
mod run;
pub(super) mod service;

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, error::ErrorKind};

use super::serve::{
    KernelArgs, kernel,
    source::{NO_SOURCE, SourceArgs},
};
use crate::{
    logging::{self, LogFormat},
    sandbox::capabilities::Needs,
};

const AFTER_HELP: &str = "\
There is no server: what the programs do not answer goes on, byte for byte, to where it would go without
hopzero. So does everything if this command is stopped, killed or hangs, within --lease at the latest.

Examples:
  On a node of a cluster, in a pod on the host's network:
    hopzero accelerate --attach pods

  The same with other names, as some distributions have them:
    hopzero accelerate --attach pods:calico --service kube-system/rke2-coredns \\
        --config-map kube-system/rke2-coredns-rke2-coredns

  From outside of the cluster's pods, with the files of the Corefile:
    hopzero accelerate --kubeconfig /etc/kubernetes/kubelet.conf --conf /etc/coredns/Corefile --attach pods

  To try it, with manifests in place of a cluster:
    hopzero accelerate --manifests ./manifests --conf Corefile --attach veth1 --answer-for 10.96.0.10

Exit status: 0 after SIGTERM or SIGINT, 1 on errors, 2 on a wrong command line.";

/// Answer in the kernel what the cluster's `CoreDNS` would answer, beside it.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Corefile of the cluster's `CoreDNS`; it is looked at every five seconds [default: that of --config-map].
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,

    /// `ConfigMap` with the Corefile of the cluster's `CoreDNS`, followed while this runs.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        default_value = "kube-system/coredns",
        conflicts_with = "conf"
    )]
    config_map: Named,

    /// The Service of the cluster's DNS: queries to its addresses are answered, and those to its endpoints at port 53, which some network
    /// plugins put in their place. --answer-for says it instead.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        default_value = "kube-system/kube-dns",
        conflicts_with = "answer_for"
    )]
    service: Named,

    #[command(flatten)]
    source: SourceArgs,

    /// Unix socket that `hopzero stats` and `hopzero kernel` ask [default: /run/hopzero/control.sock].
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Form of the log, on standard error.
    #[arg(long, value_enum, help_heading = "Logging", default_value = "plain")]
    log_format: LogFormat,

    /// Level such as debug, or filter such as `info,hopzero::kernel=trace` [default: the
    /// environment's `RUST_LOG`, else info].
    #[arg(long, value_name = "FILTER", help_heading = "Logging")]
    log_level: Option<String>,

    #[command(flatten)]
    kernel: KernelArgs,

    #[command(flatten)]
    sandbox: super::SandboxArgs,
}

/// An object of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub namespace: String,
    pub name: String,
}

impl std::str::FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Named {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err("expected a namespace and a name, such as kube-system/coredns"),
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where to learn to which addresses queries are answered.
enum AnswerFor {
    Given(Vec<IpAddr>),
    Service(Named),
}

/// Options that do not go together.
const NOTHING_TO_ATTACH: &str =
    "nothing is answered without --attach: on a node of a cluster, --attach pods";
const NO_API_SERVER: &str = "with --manifests there is no API server to ask: give --conf a Corefile, and --answer-for the address that pods send their queries to";

pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    logging::init(args.log_format, args.log_level.as_deref())
        .unwrap_or_else(|error| usage(ErrorKind::InvalidValue, error));
    let kernel = args.kernel.options(false)?;
    kernel::check_without_destination(&kernel)
        .unwrap_or_else(|error| usage(ErrorKind::MissingRequiredArgument, error));
    if !kernel.attaches() {
        usage(ErrorKind::MissingRequiredArgument, NOTHING_TO_ATTACH);
    }
    let is_given = !kernel.answer_for.is_empty();
    if args.source.is_directory() && (args.conf.is_none() || !is_given) {
        usage(ErrorKind::MissingRequiredArgument, NO_API_SERVER);
    }
    if !args.source.is_known() {
        usage(ErrorKind::MissingRequiredArgument, NO_SOURCE);
    }
    let options = run::Options {
        config: match args.conf {
            Some(path) => config::Place::File(path),
            None => config::Place::ConfigMap(args.config_map),
        },
        answer_for: if is_given {
            AnswerFor::Given(kernel.answer_for.clone())
        } else {
            AnswerFor::Service(args.service)
        },
        source: args.source,
        control: args.control,
        kernel,
    };
    let needs = Needs {
        kernel: true,
        ..Needs::default()
    };
    super::run(&args.sandbox, needs, run::run(options))
}

fn usage(kind: ErrorKind, message: impl std::fmt::Display) -> ! {
    super::usage::<Args>("hopzero accelerate", kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_a_namespace_and_a_name() {
        let named: Named = "kube-system/coredns".parse().unwrap();
        assert_eq!(named.to_string(), "kube-system/coredns");
        for invalid in ["coredns", "/coredns", "kube-system/", "a/b/c", ""] {
            assert!(invalid.parse::<Named>().is_err(), "{invalid}");
        }
    }
}
