//! hopzero beside `CoreDNS`: the same Corefile, the same files, the same upstream, the same queries one after the
//! other; replies must say the same. What differs must be in `docs/differences.md`, and in
//! `beside/differences.rs`, which recognises it.
//!
//! Each folder of `cases/` is a configuration: a `Corefile`, the files that it names, and `names` to make queries of.
//! `{$PORT}` is each server's own port, `{$UPSTREAM}` the upstream of both (`upstream.rs`).

mod transfers;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    beside::{
        comparison::Comparison,
        differences::differences,
        peer::{self, Client, Peer, Software},
        question::Questions,
        upstream,
    },
    harness::{self, Test},
};

/// Queries of each configuration, if `HOPZERO_COREDNS_QUERIES` does not say.
const QUERIES: u32 = 2000;

fn main() -> ExitCode {
    let coredns = peer::coredns();
    let skipped = coredns.as_ref().err().map(ToString::to_string);
    let mut tests = vec![Test::new("every known difference has its page", documented)];
    let path = coredns.as_ref().ok().cloned().unwrap_or_default();
    let test = Test::new("as CoreDNS: transfers", move || transfers::run(&path));
    tests.push(test.unless(skipped.clone()));
    for case in cases() {
        let name = case
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let coredns = coredns.as_ref().ok().cloned().unwrap_or_default();
        let test = Test::new(
            format!("as CoreDNS: {}", name.unwrap_or_default()),
            move || run(&case, &coredns),
        );
        tests.push(test.unless(skipped.clone()));
    }
    harness::run_plain(tests)
}

fn cases() -> Vec<PathBuf> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("coredns/cases");
    let mut cases: Vec<_> = fs::read_dir(cases)
        .into_iter()
        .flatten()
        .filter_map(|case| Some(case.ok()?.path()))
        .collect();
    cases.sort();
    cases
}

fn documented() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
    let page = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    for difference in differences() {
        let heading = format!("### {}\n", difference.id);
        ensure!(
            page.contains(&heading),
            "docs/differences.md has no `{}`",
            heading.trim()
        );
    }
    Ok(())
}

fn run(case: &Path, coredns: &Path) -> Result<()> {
    let queries = match env::var("HOPZERO_COREDNS_QUERIES") {
        Ok(queries) => queries.parse().context("HOPZERO_COREDNS_QUERIES")?,
        Err(_) => QUERIES,
    };
    let upstream = upstream::start()?.to_string();
    let variables = [("UPSTREAM", &*upstream)];
    let theirs = Peer::start(Software::CoreDns(coredns), case, &variables)?;
    let ours = Peer::start(Software::Hopzero, case, &variables)?;
    let names = fs::read_to_string(case.join("names"))?;
    let client = Client::new()?;
    let mut comparison = Comparison::default();
    for asked in Questions::new(&names).take(usize::try_from(queries)?) {
        let (theirs, ours) = (theirs.ask(&client, &asked)?, ours.ask(&client, &asked)?);
        comparison.note(&asked, &theirs, &ours);
    }
    println!("{}: {}", case.display(), comparison.summary());
    let logs = || format!("ours:\n{}\ntheirs:\n{}", ours.log(), theirs.log());
    comparison.end().with_context(logs)
}
