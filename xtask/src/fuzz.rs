//! `cargo xtask fuzz`: the data plane on the host under libFuzzer.
//!
//! No cargo-fuzz and no nightly: libFuzzer is built from the crate `libfuzzer-sys`, and our own
//! crates are compiled by `tests/fuzz/rustc.sh`, which adds the instrumentation.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// One input takes microseconds.
const TIMEOUT_SECONDS: u32 = 10;
/// The longest input: a kind, and a frame.
const INPUT_BYTES_MAX: u32 = 1901;

#[derive(clap::Args)]
pub struct Args {
    /// How long to look for inputs that fail
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Run only these inputs, once each: what was found before
    inputs: Vec<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let mut build = workspace::cargo();
    build.args([
        "build",
        "--release",
        "-p",
        "hopzero-tests",
        "--bin",
        "fuzz",
        "--features",
        "fuzz",
    ]);
    if workspace::is_ci() {
        build.arg("--locked");
    }
    build.env(
        "RUSTC_WORKSPACE_WRAPPER",
        workspace::root().join("tests/fuzz/rustc.sh"),
    );
    let status = build.status().context("cannot start cargo")?;
    ensure!(status.success(), "cargo build ended with {status}");

    let target = workspace::target_dir();
    let binary = target.join("release/fuzz");
    let mut fuzz = workspace::command(&binary.to_string_lossy());
    if args.inputs.is_empty() {
        // What reached new code is kept from run to run; the seeds are written by the target.
        let (corpus, seeds) = (target.join("fuzz/corpus"), target.join("fuzz/seeds"));
        for directory in [&corpus, &seeds] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        fuzz.env("HOPZERO_FUZZ_SEEDS", &seeds)
            .args([&corpus, &seeds])
            .arg(format!("-max_total_time={}", args.seconds))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={TIMEOUT_SECONDS}"))
            // Lines for each input that reached something new are of no use to anybody.
            .args(["-verbosity=0", "-print_final_stats=1"])
            .arg(format!(
                "-artifact_prefix={}/",
                target.join("fuzz").display()
            ));
    } else {
        // The target runs in the workspace's root, whatever directory we were called in.
        for input in &args.inputs {
            fuzz.arg(std::path::absolute(input)?);
        }
    }
    let status = fuzz.status().context("cannot start the fuzz target")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        println!("It failed: run it again with `cargo xtask fuzz FILE`, FILE as printed above.");
        ExitCode::FAILURE
    })
}
