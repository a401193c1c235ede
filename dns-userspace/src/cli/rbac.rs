//! `hopzero rbac`: what a service account must be allowed.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use super::{
    accelerate::Named,
    serve::{sites, source},
};
use crate::{plugin::Environment, source::cluster::Wanted};

const AFTER_HELP: &str = "\
Examples:
  hopzero rbac | kubectl apply -f -
  hopzero rbac --conf Corefile        # with `pods verified`, pods are watched too
  hopzero rbac --accelerate kube-system/coredns | kubectl apply -f -

Exit status: 0, or 1 if the Corefile cannot be used, 2 on a wrong command line.";

/// Print the `ClusterRole` that `serve` needs, as YAML: exactly what it watches.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The Corefile that is to be served; without one, what `serve` watches by itself.
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,

    /// For `accelerate`: also a Role that lets it read this `ConfigMap`.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    accelerate: Option<Named>,

    /// The name of the role.
    #[arg(long, value_name = "NAME", default_value = "hopzero")]
    name: String,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let wanted = match &args.conf {
        None => Wanted::default(),
        Some(path) => {
            // Some plugins start tasks of their own.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let _entered = runtime.enter();
            let environment = Environment::default();
            sites::read(path, &environment)?;
            source::wanted(&environment.clusters())
        }
    };
    print!("{}", wanted.cluster_role(&args.name));
    if let Some(map) = &args.accelerate {
        print!("---\n{}", role(map, &args.name));
    }
    Ok(ExitCode::SUCCESS)
}

/// What `accelerate` needs beyond what is watched: the configuration of the cluster's `CoreDNS`.
fn role(map: &Named, name: &str) -> String {
    let Named {
        namespace,
        name: map,
    } = map;
    // A list or watch of one name is allowed by that name.
    format!(
        "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {name}
  namespace: {namespace}
rules:
- apiGroups: [\"\"]
  resources: [\"configmaps\"]
  resourceNames: [\"{map}\"]
  verbs: [\"list\", \"watch\"]
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_that_config_map_may_be_read() {
        let map = "kube-system/coredns".parse().unwrap();
        let role: serde_json::Value = serde_yaml_ng::from_str(&role(&map, "hopzero")).unwrap();
        assert_eq!(role["metadata"]["namespace"], "kube-system");
        assert_eq!(role["rules"][0]["resourceNames"][0], "coredns");
    }
}
