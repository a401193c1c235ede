//! Daemons are killed, whatever they are doing.

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use hopzero_tests::{
    client::{Client, Query, rtype, summary},
    daemon::{Home, ended},
    harness::Test,
    network::{DNS_V4, dns},
};

use super::World;

/// How often one is killed, unless `HOPZERO_KILLS` says otherwise.
const KILLS: u32 = 40;
/// After how many a daemon is let start, and looked at.
const LOOKED_AT_EVERY: u32 = 10;
const NAME: &str = "many.shop.svc.cluster.local";

pub fn tests() -> Vec<Test> {
    vec![Test::new("pins::killed_at_random", killed)]
}

/// The shop, with a service of eight addresses that all are of this version.
fn home(version: u8) -> Result<(Home, String)> {
    let home = Home::shop()?;
    let mut addresses = String::new();
    let mut expected: Vec<String> = Vec::new();
    for host in 1..=8 {
        let address = format!("10.244.{version}.{host}");
        write!(addresses, "'{address}', ")?;
        expected.push(address);
    }
    home.write("many.yaml", &format!("
apiVersion: v1
kind: Service
metadata: {{name: many, namespace: shop}}
spec: {{clusterIP: None, ports: [{{name: pg, port: 5432}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: many-1, namespace: shop, labels: {{kubernetes.io/service-name: many, service.kubernetes.io/headless: ''}}}}
addressType: IPv4
ports: [{{name: pg, port: 5432}}]
endpoints: [{{addresses: [{addresses}], conditions: {{ready: true}}}}]
"))?;
    Ok((home, format!("NOERROR {}", expected.join(" "))))
}

/// Two versions of the cluster, in turn: an answer is of one of them, or of the server behind.
fn killed() -> Result<()> {
    let kills = env::var("HOPZERO_KILLS").map_or(Ok(KILLS), |text| text.parse())?;
    let world = World::new()?;
    let versions = [home(1)?, home(2)?];
    let mut right: BTreeSet<String> = versions.iter().map(|(_, right)| right.clone()).collect();
    right.insert("NXDOMAIN".to_owned());

    let is_enough = Arc::new(AtomicBool::new(false));
    let asking = {
        let (network, is_enough) = (Arc::clone(&world.network), Arc::clone(&is_enough));
        thread::spawn(move || -> Result<u64> {
            let (client, query) = (
                Client::new(&network.pod, dns(DNS_V4))?,
                Query::new(NAME, rtype::A),
            );
            let mut asked = 0_u64;
            while !is_enough.load(Ordering::Relaxed) {
                let id = u16::try_from(asked & 0xffff)?;
                let found = summary(&client.ask(&query.clone().id(id).bytes())?)?;
                ensure!(right.contains(&found), "{found}");
                asked += 1;
            }
            Ok(asked)
        })
    };
    // How long a start takes, and a little more.
    let (home, expected) = &versions[0];
    let started = Instant::now();
    let first = world.start(home, &[])?;
    let longest = started.elapsed() + Duration::from_millis(200);
    ensure!(world.ask(NAME)? == *expected);
    ensure!(ended(first.stop(libc::SIGKILL)?) == "signal 9");
    let mut taken = 0;
    for kill in 0..kills {
        ensure!(!asking.is_finished(), "{:?}", asking.join());
        let (home, expected) = &versions[usize::try_from(kill % 2)?];
        if kill % LOOKED_AT_EVERY == LOOKED_AT_EVERY - 1 {
            let daemon = world.start(home, &[])?;
            world.pins.are_one_set(1)?;
            let found = world.ask(NAME)?;
            ensure!(found == *expected, "{found}");
            ensure!(ended(daemon.stop(libc::SIGKILL)?) == "signal 9");
            continue;
        }
        let before = world.pins.running()?;
        let daemon = world.spawn(home, &[])?;
        let after = longest.mul_f64(fastrand::f64());
        thread::sleep(after);
        ensure!(ended(daemon.stop(libc::SIGKILL)?) == "signal 9");
        taken += u32::from(world.pins.running()? != before);
    }
    is_enough.store(true, Ordering::Relaxed);
    let asked = asking.join().map_err(|_| anyhow!("it panicked"))??;
    println!(
        "{kills} daemons killed, of which {taken} had taken over; {asked} queries, all answered from one version"
    );
    ensure!(asked > 0 && taken > 0);
    // And the last one is taken away.
    let (said, status) = world.detach(&versions[0].0, &[])?;
    ensure!(status == "exit 0", "{status} {said}");
    ensure!(
        world.pins.files()?.is_empty() && !world.pins.path().exists(),
        "{said}"
    );
    ensure!(world.ask(NAME)? == "NXDOMAIN");
    Ok(())
}
