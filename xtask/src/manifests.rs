//! `cargo xtask manifests`: `deploy/manifests`, rendered from the chart by helm. (The layer deploy sees that they are fresh.)

use std::{
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};

use crate::{peers, workspace};

pub fn run() -> Result<ExitCode> {
    let helm = peers::helm()?;
    let deploy = workspace::root().join("deploy");
    let manifests = deploy.join("manifests");
    for entry in fs::read_dir(manifests.join("values"))? {
        let values = entry?.path();
        let name = values.file_name().context("values without a name")?;
        let output = Command::new(&helm)
            .args(["template", "hopzero"])
            .arg(deploy.join("helm/hopzero"))
            .args(["--namespace", "kube-system", "--values"])
            .arg(&values)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let head = format!(
            "# Rendered from deploy/helm/hopzero with values/{} by `cargo xtask manifests`.\n",
            name.display()
        );
        let target = manifests.join(name);
        fs::write(&target, [head.as_bytes(), &output.stdout].concat())?;
        println!("{}", target.display());
    }
    Ok(ExitCode::SUCCESS)
}
