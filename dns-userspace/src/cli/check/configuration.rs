//! The Corefile: of a file, or of the cluster's `ConfigMap`.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::{
    outcome::{Hints, Outcome},
    surroundings::Surroundings,
};
use crate::{
    cli::accelerate::{Named, config::of_map, objects::Wanted},
    corefile::Corefile,
    plugin::{Environment, builder::PORT_DEFAULT},
    server::Servers,
};

/// Where the chart and the Debian package have it for `hopzero serve`.
const OURS: &str = "/etc/hopzero/Corefile";

/// The file; `None`: the `ConfigMap` is meant.
fn file(surroundings: &Surroundings) -> Option<PathBuf> {
    let args = &surroundings.args;
    let ours = || (args.config_map.is_none() && Path::new(OURS).is_file()).then(|| OURS.into());
    args.conf.clone().or_else(ours)
}

pub(super) async fn corefile(surroundings: &mut Surroundings) -> Outcome {
    let args = surroundings.args.clone();
    let (named, read) = if let Some(path) = file(surroundings) {
        surroundings.is_served_here = true;
        let read = Corefile::read(&path).map_err(|error| error.report(false));
        (path.display().to_string(), read)
    } else {
        if let Err(why) = &surroundings.connection {
            surroundings.corefile = Err(why.clone());
            return Outcome::skipped(format!("{why}; a file can be given by --conf"));
        }
        let default = Named {
            namespace: "kube-system".to_owned(),
            name: "coredns".to_owned(),
        };
        let map = args.config_map.as_ref().unwrap_or(&default);
        let wanted = Wanted::one(map);
        let listed = surroundings.list::<ConfigMap>(Some(&map.namespace), &wanted);
        let read = match listed.await {
            Ok(maps) => of_map(map, maps.first()),
            Err(error) => Err(format!("the API server does not tell: {error}")),
        };
        (format!("ConfigMap {map}"), read)
    };
    let read = read.and_then(|corefile| {
        // Some of it may be of use though it cannot be served: the servers that it forwards to are not.
        let environment = Environment::default();
        let built = Servers::build(&corefile, PORT_DEFAULT, &environment);
        let allowance = match built {
            Ok(servers) => servers.allowance(&environment.clusters(), &surroundings.dns_addresses),
            Err(error) => return Err(error.report(false)),
        };
        Ok((corefile, allowance.map(|allowance| allowance.claims.len())))
    });
    match read {
        Ok((corefile, kept)) => {
            let facts = json!({"blocks": corefile.blocks.len(), "warnings": corefile.warnings, "kept": kept});
            surroundings.corefile = Ok(corefile);
            let kernel = match kept {
                None => {
                    "nothing of it is for the kernel: no server block has `kubernetes`".to_owned()
                }
                Some(0) => "the kernel may answer all names of the cluster".to_owned(),
                Some(kept) => format!(
                    "the kernel may answer the cluster's names, but for {kept} exceptions (hopzero check-config)"
                ),
            };
            Outcome::ok(format!("{named} can be used; {kernel}")).facts(facts)
        }
        Err(error) => {
            surroundings.corefile = Err("the configuration cannot be used".to_owned());
            Outcome::failure(
                format!("{named} cannot be used\n{}", error.trim_end()),
                &Hints {
                    meaning: "`hopzero serve` does not start with it, and `accelerate` answers nothing from it: a directive that is not known could change any name",
                    see: "kubectl -n kube-system get configmap coredns -o jsonpath='{.data.Corefile}' > Corefile; hopzero check-config Corefile",
                    fix: "docs/corefile.md has what is supported; name the cluster's own ConfigMap with --config-map, and mount what it imports",
                },
            )
        }
    }
}
