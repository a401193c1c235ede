//! `hopzero check` on the node in miniature, with a real API server, beside a running daemon and without one.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{accelerate, world::World};

/// All that depends on the API server.
const OF_CLUSTER: [&str; 4] = ["api-server", "dns-service", "dns-endpoints", "corefile"];

pub fn test(coredns: &Path, plane: &Path) -> Result<()> {
    let world = World::new(coredns, plane, 2)?;
    let checks = check(&world)?;
    for name in OF_CLUSTER.into_iter().chain([
        "headless-families",
        "self-test",
        "upstreams",
        "bridge-address",
    ]) {
        ensure!(status(&checks, name)? == "ok", "{name}: {checks:#}");
    }
    let said = summary(&checks, "self-test")?;
    ensure!(said.contains("from 2 of 2 devices (tried"), "{said}");

    let daemon = world.accelerate()?;
    accelerate::active(&daemon, 2)?;
    let programs = daemon.programs()?;
    let checks = check(&world)?;
    let said = summary(&checks, "self-test")?;
    ensure!(
        said.contains("from 2 of 2 devices (as the daemon says)"),
        "{said}"
    );
    ensure!(
        daemon.programs()? == programs,
        "the daemon's programs are others"
    );
    accelerate::active(&daemon, 2)?;

    world.configure("nonsense")?;
    let checks = check(&world)?;
    ensure!(status(&checks, "corefile")? == "failure", "{checks:#}");
    world.plane.kubectl(
        &["delete"],
        "apiVersion: v1\nkind: Service\nmetadata: {name: kube-dns, namespace: kube-system}\n",
    )?;
    let checks = check(&world)?;
    ensure!(status(&checks, "dns-service")? == "failure", "{checks:#}");
    Ok(())
}

fn check(world: &World) -> Result<Value> {
    let kubeconfig = world.plane.kubeconfig();
    let arguments = [
        "--kubeconfig",
        kubeconfig.to_str().context("a path")?,
        "--attach",
        "pods:bridge",
        "--pod-cidr",
        "10.245.0.0/24",
        "--output",
        "json",
    ];
    let mut command = (world.home).command(&world.node.namespace, "check", &arguments)?;
    let output = command.output().context("cannot start hopzero")?;
    let document: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let failed = document["status"] == "failure";
    ensure!(
        output.status.code() == Some(i32::from(failed)),
        "{}",
        output.status
    );
    Ok(document["checks"].clone())
}

fn find<'a>(checks: &'a Value, name: &str) -> Result<&'a Value> {
    let mut checks = checks.as_array().into_iter().flatten();
    let found = checks.find(|check| check["check"] == name);
    found.with_context(|| format!("no check {name}"))
}

fn status<'a>(checks: &'a Value, name: &str) -> Result<&'a str> {
    find(checks, name)?["status"].as_str().context("no status")
}

fn summary<'a>(checks: &'a Value, name: &str) -> Result<&'a str> {
    find(checks, name)?["summary"]
        .as_str()
        .context("no summary")
}
