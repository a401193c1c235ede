//! What `helm template` makes of the chart.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Deserialize as _;
use serde_json::Value;

/// The release and its namespace, as in `deploy/manifests`.
pub const NAME: &str = "hopzero";
pub const NAMESPACE: &str = "kube-system";

/// `HOPZERO_HELM`.
pub fn helm() -> Result<PathBuf> {
    let path = env::var_os("HOPZERO_HELM").ok_or_else(|| {
        anyhow!("HOPZERO_HELM names no helm: `cargo xtask test deploy` builds one")
    })?;
    let path = PathBuf::from(path);
    ensure!(
        path.is_file(),
        "HOPZERO_HELM: {} is no file",
        path.display()
    );
    Ok(path)
}

/// The folder of what is deployed.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Runs helm on the chart, and returns its output, or else what it complains about.
pub fn run(subcommand: &[&str], arguments: &[&str]) -> Result<Result<String, String>> {
    let output = Command::new(helm()?)
        .args(subcommand)
        .arg(deploy().join("helm/hopzero"))
        .args(["--namespace", NAMESPACE])
        .args(arguments)
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    })
}

/// The chart with these arguments, as text.
pub fn text(arguments: &[&str]) -> Result<String> {
    run(&["template", NAME], arguments)?.map_err(|error| anyhow!("{arguments:?}: {error}"))
}

/// What is rendered, object by object.
pub struct Objects(Vec<Value>);

impl Objects {
    /// The chart with these arguments.
    pub fn new(arguments: &[&str]) -> Result<Self> {
        Self::parse(&text(arguments)?)
    }

    /// Of YAML documents.
    pub fn parse(text: &str) -> Result<Self> {
        let documents = serde_yaml_ng::Deserializer::from_str(text);
        let objects: Result<Vec<Value>, _> = documents.map(Value::deserialize).collect();
        Ok(Self(
            objects?
                .into_iter()
                .filter(|object| !object.is_null())
                .collect(),
        ))
    }

    /// Kinds, in their order.
    pub fn kinds(&self) -> Vec<&str> {
        let kinds = self.0.iter().filter_map(|object| object["kind"].as_str());
        kinds.collect()
    }

    /// The one of a kind.
    pub fn one(&self, kind: &str) -> Result<&Value> {
        (self.0.iter())
            .find(|object| object["kind"] == kind)
            .with_context(|| format!("no {kind} among {:?}", self.kinds()))
    }

    /// The container of the `DaemonSet`.
    pub fn container(&self) -> Result<&Value> {
        Ok(&self.one("DaemonSet")?["spec"]["template"]["spec"]["containers"][0])
    }

    /// Its arguments.
    pub fn arguments(&self) -> Result<Vec<&str>> {
        let arguments = self.container()?["args"].as_array().context("no args")?;
        Ok(arguments.iter().filter_map(Value::as_str).collect())
    }

    /// The Corefile of the `ConfigMap`.
    pub fn corefile(&self) -> Result<&str> {
        let corefile = self.one("ConfigMap")?["data"]["Corefile"].as_str();
        corefile.context("no Corefile")
    }
}
