//! A real API server takes every object (`kubectl apply --server-side --dry-run=server`).

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use hopzero_tests::beside::plane::{self, Plane};

use crate::{
    chart::SERVE,
    render::{self, Objects},
};

/// The Prometheus operator's kind; what it looks like inside is the operator's.
const POD_MONITOR: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podmonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: PodMonitor, listKind: PodMonitorList, plural: podmonitors, singular: podmonitor}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// How long the server may take to know it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Sets of values. (The server's Services have addresses of 10.96.0.0/16 and `fd00:10:96::/112`.)
const SETS: [&[&str]; 6] = [
    &[],
    &[
        "--set",
        "cluster.dnsAddresses={10.96.0.10},attach.to={pods:calico},networkPolicy.enabled=true,rbac.watchPods=true",
    ],
    &["--set", "mode=serve,cluster.dnsAddresses={10.96.0.10}"],
    &[
        "--set",
        "mode=serve,cluster.dnsAddresses={10.96.0.10,fd00:10:96::a},serve.service.trafficDistribution=PreferSameNode,serve.pods=verified",
    ],
    &[
        "--set",
        "mode=serve,cluster.dnsAddresses={10.96.0.10},networkPolicy.enabled=true,podMonitor.enabled=true,updateStrategy.maxUnavailable=10%",
    ],
    &[
        "--set",
        "rbac.create=false,serviceAccount.create=false,podLabels.team=dns,podAnnotations.a=b,nodeSelector.disk=ssd,image.pullSecrets={one}",
    ],
];

pub fn takes_it() -> Result<()> {
    let plane = Plane::start(&plane::binary()?)?;
    plane.kubectl(&["create"], POD_MONITOR)?;
    known(&plane)?;
    let elsewhere = [&SERVE[..], &["--set", "serve.service.enabled=false"]].concat();
    for arguments in SETS.into_iter().chain([&*elsewhere]) {
        let rendered = render::text(arguments)?;
        let objects = Objects::parse(&rendered)?.kinds().len();
        let taken = dry_run(&plane, &rendered)?;
        println!("{objects} objects: {}", arguments.join(" "));
        ensure!(taken.lines().count() == objects, "{taken}");
    }
    // What is wrong it would not take.
    let wrong = render::text(&["--set", "podLabels.team=-"])?;
    ensure!(dry_run(&plane, &wrong).is_err(), "a label `-` is taken");
    Ok(())
}

/// A new kind is known a moment after it was created.
fn known(plane: &Plane) -> Result<()> {
    let begun = Instant::now();
    let object = "{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {name: a, namespace: kube-system}}";
    while let Err(error) = dry_run(plane, object) {
        ensure!(begun.elapsed() < PATIENCE, "{error:#}");
        thread::sleep(LOOK);
    }
    Ok(())
}

fn dry_run(plane: &Plane, objects: &str) -> Result<String> {
    plane.kubectl(&["apply", "--server-side", "--dry-run=server"], objects)
}
