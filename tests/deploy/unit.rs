//! The systemd unit, as systemd itself judges it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use hopzero::sandbox::capabilities::NEEDED;
use hopzero_tests::{daemon, harness::Test};

use crate::render;

/// Of 100, as `systemd-analyze security` counts: the network of the host, and capabilities over it, are what it is for.
const EXPOSURE_MAX: &str = "25";

pub fn tests() -> Vec<Test> {
    let is_there = Path::new("/usr/bin/systemd-analyze").is_file();
    let missing = (!is_there).then(|| "systemd-analyze is missing: install systemd".to_owned());
    vec![
        Test::new("systemd takes the unit", verified).unless(missing.clone()),
        Test::new("systemd takes the unit with the page's drop-in", pinned).unless(missing.clone()),
        Test::new("the unit has few privileges", hardened).unless(missing),
        Test::new("the daemon takes the unit's command line", command_line),
        Test::new("the unit has the daemon's capabilities", capabilities),
    ]
}

/// The unit with what is there instead of the installed program.
fn verified() -> Result<()> {
    let unit = fs::read_to_string(render::deploy().join("systemd/hopzero.service"))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("hopzero.service");
    for (from, is_taken) in [("\u{0}", true), ("ProtectSystem=", false)] {
        let text = unit.replace("/usr/bin/hopzero", "/bin/true");
        fs::write(&path, text.replace(from, "ProtectSistem="))?;
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

/// The drop-in of docs/deploy.md, for `--pin`.
fn drop_in() -> Result<String> {
    let page = fs::read_to_string(render::deploy().join("../docs/deploy.md"))?;
    let (_, behind) = page
        .split_once("`systemctl edit hopzero`:\n\n```text\n")
        .context("the page has no drop-in")?;
    let (text, _) = behind.split_once("```").context("it does not end")?;
    Ok(text.to_owned())
}

/// As `systemctl edit` puts it beside the unit; and what systemd would not take.
fn pinned() -> Result<()> {
    let unit = fs::read_to_string(render::deploy().join("systemd/hopzero.service"))?;
    let (folder, drop_in) = (tempfile::tempdir()?, drop_in()?);
    let path = folder.path().join("hopzero.service");
    fs::write(&path, unit.replace("/usr/bin/hopzero", "/bin/true"))?;
    let beside = folder.path().join("hopzero.service.d");
    fs::create_dir(&beside)?;
    for (text, is_taken) in [
        (drop_in.clone(), true),
        (drop_in.replace("DynamicUser=", "DynamikUser="), false),
        (drop_in.replace("=/sys/fs/bpf", "=sys/fs/bpf"), false),
    ] {
        fs::write(beside.join("override.conf"), &text)?;
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&path)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_clean = output.status.success() && !said.contains("override.conf:");
        ensure!(is_clean == is_taken, "{text}{} {said}", output.status);
    }
    Ok(())
}

/// `ExecStart=` with options as systemd would put them in: the daemon takes them (and then finds no Corefile: exit 1); on a wrong
/// command line it exits with 2.
fn command_line() -> Result<()> {
    let unit = fs::read_to_string(render::deploy().join("systemd/hopzero.service"))?;
    let defaults = fs::read_to_string(render::deploy().join("systemd/hopzero.default"))?;
    let shown = (defaults.lines())
        .find_map(|line| line.strip_prefix("#HOPZERO_OPTIONS=\"")?.strip_suffix('"'))
        .context("no example of options")?;
    let page = fs::read_to_string(render::deploy().join("../docs/deploy.md"))?;
    let pin = "--pin /sys/fs/bpf/hopzero";
    ensure!(page.contains(&format!("`{pin}` in `HOPZERO_OPTIONS`")));
    let start = (unit.lines())
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/hopzero "))
        .context("no ExecStart")?;
    let nowhere = tempfile::tempdir()?.path().join("Corefile");
    for (options, code) in [
        (String::new(), 1),
        (shown.to_owned(), 1),
        (format!("{shown} {pin}"), 1),
        (format!("{shown} --pim /sys/fs/bpf/hopzero"), 2),
    ] {
        let line = start
            .replace("/etc/hopzero/Corefile", &nowhere.to_string_lossy())
            .replace("$HOPZERO_OPTIONS", &options);
        let output = Command::new(daemon::binary()?)
            .args(line.split_whitespace())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code), "{line}: {said}");
        ensure!(code == 2 || said.contains("Corefile"), "{line}: {said}");
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
