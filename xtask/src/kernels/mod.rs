//! The layer `kernels`: what other kernels do with the programs. The packet tests and the attach modes run on the host, and
//! in virtual machines that boot the kernels of Debian's packages with nothing but these tests in memory.

mod debian;
mod initramfs;
mod machine;
mod table;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::{debian::Kernel, initramfs::Initramfs, table::Table};
use crate::{test::Sum, workspace};

/// What runs on each kernel.
const TESTS: [&str; 2] = ["kernels", "packet"];
/// Kernels that Debian 12 packages, beside whatever the host has.
const SERIES: [&str; 2] = ["6.1", "6.12"];
/// There are thousands of packets.
const QUIET: [&str; 3] = ["--quiet", "--color", "never"];
/// The shop, which `hopzero serve` reads.
const MANIFESTS: &str = "tests/manifests/shop";

pub fn run() -> Result<Sum> {
    let tests = build()?;
    let mut sum = Sum::default();
    let mut table = Table::default();

    println!("\n-- the host's kernel --");
    table.kernel();
    for test in &tests {
        sum.add(&on_host(test, &mut table)?);
    }
    if let Some(why) = machine::missing() {
        for series in SERIES {
            println!("SKIPPED Linux {series}: {why}");
            sum.skipped += 1;
        }
    } else {
        let daemon = workspace::target_dir().join("release/hopzero");
        for series in SERIES {
            let kernel = debian::kernel(series)?;
            println!("\n-- {} --", kernel.package);
            table.kernel();
            sum.add(&in_machine(&kernel, &tests, &daemon, &mut table)?);
        }
    }
    println!("\n{}", table.text());
    Ok(sum)
}

/// Builds the daemon and the tests, and says where these are.
fn build() -> Result<Vec<PathBuf>> {
    let mut command = workspace::cargo();
    command.args(["build", "-p", "hopzero", "--release"]);
    if workspace::is_ci() {
        command.arg("--locked");
    }
    ensure!(command.status()?.success(), "the daemon does not build");
    let mut command = workspace::cargo();
    // Emulated, a debug build would take ten minutes.
    command.args(["test", "-p", "hopzero-tests", "--no-run", "--release"]);
    command.arg("--message-format=json-render-diagnostics");
    for test in TESTS {
        command.args(["--test", test]);
    }
    if workspace::is_ci() {
        command.arg("--locked");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(
        output.status.success(),
        "the tests do not build: {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let built: Vec<Value> = (text.lines())
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    (TESTS.iter())
        .map(|test| {
            let executable = built.iter().find_map(|message| {
                let is_it = message["target"]["name"] == *test;
                is_it.then(|| message["executable"].as_str()).flatten()
            });
            executable
                .map(PathBuf::from)
                .with_context(|| format!("cargo did not say where the test {test} is"))
        })
        .collect()
}

fn on_host(test: &Path, table: &mut Table) -> Result<Sum> {
    let mut command = workspace::command(&test.to_string_lossy());
    let mut sum = Sum::default();
    let status = crate::test::follow(command.args(QUIET), |line| {
        sum.read(line);
        table.read(line);
    })?;
    sum.count_failure(test.display(), status.success());
    Ok(sum)
}

fn in_machine(kernel: &Kernel, tests: &[PathBuf], daemon: &Path, table: &mut Table) -> Result<Sum> {
    let mut files = Initramfs::new(kernel)?;
    files.program(Path::new("/target/release/hopzero"), daemon)?;
    for (name, test) in TESTS.iter().zip(tests) {
        files.program(&Path::new("/target/release/deps").join(name), test)?;
    }
    files.directory(&workspace::root().join(MANIFESTS))?;
    let initramfs = workspace::target_dir().join(format!("{}.cpio", kernel.package));
    files.write(&initramfs, &script(&kernel.modules()?))?;

    let mut sum = Sum::default();
    let mut ended = 0;
    let status = crate::test::follow(&mut machine::command(&kernel.image, &initramfs), |line| {
        sum.read(line);
        table.read(line);
        ended += usize::from(line.starts_with("ENDED "));
    })?;
    sum.count_failure(&kernel.package, status.success() && ended == TESTS.len());
    Ok(sum)
}

/// What the machine does.
fn script(modules: &[PathBuf]) -> String {
    let modules: Vec<String> = (modules.iter())
        .filter_map(|module| module.file_name())
        .map(|name| format!("/modules/{}", name.display()))
        .collect();
    let modules = modules.join(" ");
    let quiet = QUIET.join(" ");
    let tests: String = TESTS
        .map(|test| {
            format!(
                "/target/release/deps/{test} {quiet} && echo ENDED {test} || echo {test} failed\n"
            )
        })
        .concat();
    format!(
        "#!/bin/busybox sh\n\
         export PATH=/bin TMPDIR=/tmp CI=true\n\
         busybox mount -t proc proc /proc\n\
         busybox mount -t sysfs sysfs /sys\n\
         busybox mount -t devtmpfs devtmpfs /dev\n\
         busybox mount -t tmpfs tmpfs /tmp\n\
         busybox mount -t tmpfs tmpfs /run\n\
         busybox mount -t bpf bpf /sys/fs/bpf\n\
         for module in {modules}; do busybox insmod $module; done\n\
         ip link set lo up\n\
         {tests}\
         busybox poweroff -f\n"
    )
}
