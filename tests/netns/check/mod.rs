//! `hopzero check`: on a node on which all is well it says so; each of its checks is broken on purpose, and says what it means.

mod rows;
mod server;
mod world;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    daemon::{Daemon, Home, attach, listen},
    harness::Test,
    network::NODE_DEVICE,
};
use serde_json::Value;

use self::{
    rows::{ROWS, Row},
    world::{Ended, World},
};

pub fn tests() -> Vec<Test> {
    let rows = ROWS.iter().map(|row| {
        let name = format!("check::{}::{}", row.check, row.how);
        Test::new(name, move || broken(row))
    });
    let mut tests: Vec<Test> = rows.collect();
    tests.push(Test::new("check::well", well));
    tests.push(Test::new(
        "check::every_check_has_a_row",
        every_check_has_a_row,
    ));
    tests.push(Test::new("check::beside_a_daemon", beside_a_daemon));
    tests
}

/// Its checks by name.
fn checks(ended: &Ended) -> Result<Vec<Value>> {
    let document: Value = serde_json::from_str(&ended.stdout)
        .with_context(|| format!("no JSON: {}{}", ended.stdout, ended.stderr))?;
    let checks = document["checks"].as_array();
    checks.cloned().context("no checks")
}

fn find(checks: &[Value], name: &str) -> Result<Value> {
    let found = checks.iter().find(|check| check["check"] == name);
    found.cloned().with_context(|| format!("no check {name}"))
}

fn broken(row: &Row) -> Result<()> {
    let mut world = World::new()?;
    (row.break_it)(&mut world)?;
    let ended = world.check("json")?;
    let found = find(&checks(&ended)?, row.check)?;
    ensure!(found["status"] == row.status, "{found:#}");
    let summary = found["summary"].as_str().unwrap_or_default();
    for words in row.words {
        ensure!(summary.contains(words), "no {words:?} in {summary}");
    }
    let has_hints = ["meaning", "see", "fix"]
        .iter()
        .all(|hint| found[hint].as_str().is_some_and(|hint| !hint.is_empty()));
    ensure!(has_hints || row.status == "skipped", "{found:#}");
    // What lets one be skipped is another one's failure.
    let code = i32::from(row.status != "warning");
    ensure!(
        ended.code == Some(code),
        "exit {:?}: {}",
        ended.code,
        ended.stdout
    );
    Ok(())
}

fn well() -> Result<()> {
    let world = World::new()?;
    let ended = world.check("json")?;
    for check in checks(&ended)? {
        ensure!(check["status"] == "ok", "{check:#}");
    }
    ensure!(
        ended.code == Some(0) && ended.stderr.is_empty(),
        "{}",
        ended.stderr
    );
    let ended = world.check("text")?;
    println!("{}", ended.stdout);
    ensure!(
        ended
            .stdout
            .ends_with("\n17 ok, 0 warnings, 0 failures, 0 skipped\n"),
        "{}",
        ended.stdout
    );
    Ok(())
}

/// A new check is broken by somebody, or this fails.
fn every_check_has_a_row() -> Result<()> {
    let world = World::new()?;
    let made = checks(&world.check("json")?)?;
    let made: BTreeSet<&str> = made
        .iter()
        .filter_map(|check| check["check"].as_str())
        .collect();
    let broken = ROWS.iter().filter(|row| row.status != "skipped");
    let broken: BTreeSet<&str> = broken.map(|row| row.check).collect();
    ensure!(made == broken, "made: {made:?}\nbroken: {broken:?}");
    Ok(())
}

/// A daemon is asked, and left alone; one that cannot be asked is left alone, too.
fn beside_a_daemon() -> Result<()> {
    let mut world = World::new()?;
    let home = Home::shop()?;
    let arguments = [listen(), attach("clsact")].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let command = home.serve(&world.network.node, &arguments)?;
    let daemon = Daemon::spawn(command, &home)?.ready()?;
    let self_test = |world: &World| -> Result<Value> {
        let found = find(&checks(&world.check("json")?)?, "self-test")?;
        let filters = crate::clsact::filters(&world.network.node)?;
        ensure!(filters.contains("hopzero_tc"), "{filters}");
        Ok(found)
    };
    let unknown = self_test(&world)?;
    let summary = unknown["summary"].as_str().unwrap_or_default();
    ensure!(
        unknown["status"] == "skipped" && summary.contains("--control"),
        "{unknown}"
    );
    let control = home.control().display().to_string();
    world.arguments = vec!["--control".to_owned(), control];
    let known = self_test(&world)?;
    let summary = known["summary"].as_str().unwrap_or_default();
    ensure!(
        known["status"] == "ok" && summary.contains("as the daemon says"),
        "{known}"
    );
    ensure!(
        known["facts"]["devices"][0]["device"] == NODE_DEVICE,
        "{known}"
    );
    ensure!(daemon.stop(libc::SIGTERM)?.success());
    Ok(())
}
