//! `cargo xtask deb`: a Debian package with the static program, a systemd unit, and a Corefile to begin with.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};

use crate::{EXIT_TO_DO, dist, workspace};

/// Where each file of the repository goes.
const FILES: [(&str, &str); 6] = [
    (
        "deploy/systemd/hopzero.service",
        "lib/systemd/system/hopzero.service",
    ),
    ("deploy/systemd/Corefile", "etc/hopzero/Corefile"),
    ("deploy/systemd/hopzero.default", "etc/default/hopzero"),
    ("LICENSES/README.md", "usr/share/doc/hopzero/copyright"),
    ("README.md", "usr/share/doc/hopzero/README.md"),
    ("CHANGELOG.md", "usr/share/doc/hopzero/CHANGELOG.md"),
];
const CONTROL: &str = "\
Package: hopzero
Version: {version}
Architecture: amd64
Maintainer: hopzero's authors <hopzero@example.com>
Section: net
Priority: optional
Installed-Size: {kilobytes}
Homepage: https://github.com/hopzero/hopzero
Description: DNS answered in the kernel
 Answers DNS queries by an eBPF program where they enter the machine, and on a
 socket what the kernel passes on; configured by a Corefile, CoreDNS's own.
 .
 The service is not started by itself: edit /etc/hopzero/Corefile, then run
 `systemctl enable --now hopzero`.
";
const CONFFILES: &str = "/etc/default/hopzero\n/etc/hopzero/Corefile\n";
/// The unit is known, or forgotten, at once.
const RELOAD: &str = "\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
";
/// Stopped before it goes, and started anew after an upgrade if it ran.
const PRERM: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now hopzero.service || true
fi
";
const POSTINST: &str = "\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    if [ \"$1\" = configure ] && [ -n \"$2\" ]; then
        systemctl try-restart hopzero.service || true
    fi
fi
";

pub fn run() -> Result<ExitCode> {
    ensure!(
        workspace::find("dpkg-deb").is_some(),
        "dpkg-deb is missing: packages are built on Debian, or with its dpkg"
    );
    let Some(binary) = dist::build()? else {
        return Ok(ExitCode::from(EXIT_TO_DO));
    };
    let directory = workspace::target_dir().join("deb");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let tree = directory.join("tree");
    add(&tree.join("usr/bin/hopzero"), &fs::read(&binary)?, 0o755)?;
    for (from, to) in FILES {
        let from = workspace::root().join(from);
        let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
        add(&tree.join(to), &bytes, 0o644)?;
    }
    let kilobytes = fs::metadata(&binary)?.len().div_ceil(1024);
    let control = CONTROL
        .replace("{version}", dist::VERSION)
        .replace("{kilobytes}", &kilobytes.to_string());
    add(&tree.join("DEBIAN/control"), control.as_bytes(), 0o644)?;
    add(&tree.join("DEBIAN/conffiles"), CONFFILES.as_bytes(), 0o644)?;
    for (name, script) in [("prerm", PRERM), ("postinst", POSTINST), ("postrm", RELOAD)] {
        add(&tree.join("DEBIAN").join(name), script.as_bytes(), 0o755)?;
    }
    let package = directory.join(format!("hopzero_{}_amd64.deb", dist::VERSION));
    let status = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([&tree, &package])
        // No file is newer than that.
        .env("SOURCE_DATE_EPOCH", "0")
        .status()?;
    ensure!(status.success(), "dpkg-deb ended with {status}");
    println!("{}", package.display());
    Ok(ExitCode::SUCCESS)
}

fn add(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let parent = path.parent().context("a file without a directory")?;
    fs::create_dir_all(parent)?;
    fs::write(path, bytes).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}
