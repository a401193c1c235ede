//! All checks, in the order in which they are made: what one learns the next ones use.

use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use serde::Serialize;

use super::{
    cluster, configuration, devices, network, node,
    outcome::{Hints, Outcome, Status},
    resolvers,
    surroundings::Surroundings,
};

/// A check.
pub(super) struct Check {
    /// What it belongs to.
    pub group: &'static str,
    /// For programs.
    pub name: &'static str,
    run: for<'a> fn(&'a mut Surroundings) -> LocalBoxFuture<'a, Outcome>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    pub group: &'static str,
    pub check: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome,
}

macro_rules! checks {
    ($($group:literal $name:literal $function:path;)*) => {
        /// A new one needs a row in `tests/check`, which says how it is broken.
        pub(super) const CHECKS: &[Check] = &[$(Check {
            group: $group,
            name: $name,
            run: |surroundings| Box::pin($function(surroundings)),
        }),*];
    };
}

checks! {
    "node" "kernel" node::kernel;
    "node" "capabilities" node::capabilities;
    "node" "programs" node::programs;
    "node" "btf" node::btf;
    "node" "bpffs" node::bpffs;
    "devices" "devices" devices::devices;
    "devices" "hooks" devices::hooks;
    "devices" "self-test" devices::self_test;
    "cluster" "api-server" cluster::api_server;
    "cluster" "dns-service" cluster::dns_service;
    "cluster" "dns-endpoints" cluster::dns_endpoints;
    "cluster" "headless-families" cluster::headless_families;
    "configuration" "corefile" configuration::corefile;
    "resolvers" "node-resolv-conf" resolvers::of_node;
    "resolvers" "pod-resolv-conf" resolvers::of_pods;
    "resolvers" "upstreams" resolvers::upstreams;
    "network" "bridge-address" network::bridge_address;
}

/// What a check has less than its deadline, to say by itself what it waits for.
const MARGIN: Duration = Duration::from_millis(200);

/// Makes all of them, each within the time that it has.
pub(super) async fn run(surroundings: &mut Surroundings) -> Vec<Checked> {
    let mut all = Vec::new();
    for check in CHECKS {
        all.push(Checked {
            group: check.group,
            check: check.name,
            outcome: run_one(check, surroundings).await,
        });
    }
    all
}

async fn run_one(check: &Check, surroundings: &mut Surroundings) -> Outcome {
    let limit = surroundings.args.limit();
    surroundings.until = Instant::now() + limit.saturating_sub(MARGIN);
    let outcome = tokio::time::timeout(limit, (check.run)(surroundings)).await;
    outcome.unwrap_or_else(|_| {
        Outcome::failure(
            format!("no result within {} s", limit.as_secs_f64()),
            &Hints {
                meaning: "what this check asks does not answer",
                see: "hopzero check, once more",
                fix: "give it more time with --timeout; if that does not help, what is asked hangs",
            },
        )
    })
}

/// The worst of them; what was skipped is not known to be bad.
pub(super) fn worst(all: &[Checked]) -> Status {
    let has = |status| all.iter().any(|checked| checked.outcome.status == status);
    [Status::Failure, Status::Warning]
        .into_iter()
        .find(|status| has(*status))
        .unwrap_or(Status::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_check() {
        let page = include_str!("../../../../docs/check.md");
        let table = page
            .split("\n## ")
            .find(|part| part.starts_with("The checks"));
        let table = table.unwrap_or_default();
        for check in CHECKS {
            let row = format!("\n| `{}` | ", check.name);
            assert_eq!(table.matches(&row).count(), 1, "{}", check.name);
        }
    }
}
