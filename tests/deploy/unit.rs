//! The systemd unit, as systemd itself judges it.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use hopzero::sandbox::capabilities::NEEDED;
use hopzero_tests::harness::Test;

use crate::render;

/// Of 100, as `systemd-analyze security` counts: the network of the host, and capabilities over it, are what it is for.
const EXPOSURE_MAX: &str = "25";

pub fn tests() -> Vec<Test> {
    let is_there = Path::new("/usr/bin/systemd-analyze").is_file();
    let missing = (!is_there).then(|| "systemd-analyze is missing: install systemd".to_owned());
    vec![
        Test::new("systemd takes the unit", verified).unless(missing.clone()),
        Test::new("the unit has few privileges", hardened).unless(missing),
        Test::new("the unit has the daemon's capabilities", capabilities),
    ]
}

/// The unit with what is there instead of the installed program.
fn verified() -> Result<()> {
    let unit = std::fs::read_to_string(render::deploy().join("systemd/hopzero.service"))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("hopzero.service");
    for (from, is_taken) in [("\u{0}", true), ("ProtectSystem=", false)] {
        let text = unit.replace("/usr/bin/hopzero", "/bin/true");
        std::fs::write(&path, text.replace(from, "ProtectSistem="))?;
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&path)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_clean = output.status.success() && !said.contains("hopzero.service:");
        ensure!(is_clean == is_taken, "{} {said}", output.status);
    }
    Ok(())
}

fn hardened() -> Result<()> {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .args(["--threshold", EXPOSURE_MAX])
        .arg(render::deploy().join("systemd/hopzero.service"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{}", said.lines().last().unwrap_or_default());
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Those that the daemon would keep, and no others.
fn capabilities() -> Result<()> {
    let unit = std::fs::read_to_string(render::deploy().join("systemd/hopzero.service"))?;
    let names = NEEDED.map(|row| row.name).join(" ");
    for line in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        let expected = format!("{line}={names}");
        ensure!(unit.lines().any(|line| line == expected), "no {expected}");
    }
    Ok(())
}
