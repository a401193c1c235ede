//! docs/quickstart-cluster.md, run: its `sh` blocks one after the other in one shell, and what each `text` block shows must
//! be what the block before it has printed.
//!
//! The shell has a network, mounts and processes of its own: nothing of the page touches the machine's, and whatever
//! becomes of it, nothing of it is left.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use hopzero::kernel::{Kernel, Options};
use hopzero_tests::harness::{self, Test};

const PAGE: &str = "docs/quickstart-cluster.md";
/// Between the output of two blocks.
const MARK: &str = "=== block";

fn main() -> ExitCode {
    let test = Test::new("the quickstart does what it shows", run);
    harness::run_plain(vec![
        test.unless(missing().err().map(|error| format!("{error:#}"))),
    ])
}

/// What it takes.
fn missing() -> Result<()> {
    env::var_os("HOPZERO_CLUSTER").ok_or_else(|| {
        anyhow!("HOPZERO_CLUSTER names no control plane: `cargo xtask test cluster` builds one")
    })?;
    Ok(Kernel::check(&Options::default())?)
}

/// Commands, and what they are to print.
#[derive(Debug, Default)]
struct Block {
    commands: String,
    shown: Vec<String>,
}

fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no root")?;
    let page = fs::read_to_string(root.join(PAGE))?;
    let blocks = blocks(&page);
    ensure!(
        blocks.len() > 5,
        "the page has {} blocks of commands",
        blocks.len()
    );
    let directory = tempfile::tempdir()?;
    let mut script = String::from("set -e\n");
    for block in &blocks {
        write!(script, "echo '{MARK}'\n{}", block.commands)?;
    }
    fs::write(directory.path().join("page.sh"), script)?;
    // A tmpfs over /run: `ip netns` keeps its files there, and the control socket is there.
    let begin = "mount -t tmpfs tmpfs /run && ip link set lo up && exec bash \"$0\"";
    let mut command = Command::new("unshare");
    command
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["sh", "-c", begin])
        .arg(directory.path().join("page.sh"))
        .current_dir(root)
        .env("HOPZERO_CLUSTER_DIR", directory.path().join("cluster"))
        // There is no network.
        .env("CARGO_NET_OFFLINE", "true")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    for (name, _) in env::vars() {
        // What cargo has set for this test makes a cargo inside build everything again.
        let is_for_us = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if is_for_us.iter().any(|prefix| name.starts_with(prefix)) || name == "LD_LIBRARY_PATH" {
            command.env_remove(name);
        }
    }
    let output = command
        .output()
        .context("cannot start unshare: install util-linux")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let all = || format!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{}", output.status, all());
    let printed: Vec<&str> = stdout.split(&format!("{MARK}\n")).skip(1).collect();
    ensure!(printed.len() == blocks.len(), "{}", all());
    for (block, printed) in blocks.iter().zip(printed) {
        let mut lines = printed.lines();
        for shown in &block.shown {
            ensure!(
                lines.any(|line| is_shown(line, shown)),
                "the page shows {shown:?} of\n{}\nwhich printed\n{printed}\n{}",
                block.commands,
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    println!("{} blocks of commands", blocks.len());
    Ok(())
}

/// The `sh` blocks of a page, each with the lines of the `text` block that follows it.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut language = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), language) {
            (Some(_), Some(_)) => language = None,
            (Some(opened), None) => {
                language = Some(opened);
                if opened == "sh" {
                    blocks.push(Block::default());
                }
            }
            (None, Some(inside)) => {
                if let Some(block) = blocks.last_mut() {
                    match inside {
                        "sh" => block.commands.extend([line, "\n"]),
                        "text" => block.shown.push(line.to_owned()),
                        _ => {}
                    }
                }
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Whether a line has these words, with anything where the page has `…`.
fn is_shown(line: &str, shown: &str) -> bool {
    let mut rest = line;
    shown
        .split('…')
        .all(|part| match rest.split_once(part.trim()) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
}
