//! Until the zone is complete the kernel passes everything: what it lacks may only not have been read yet.

use std::{fmt::Write as _, thread, time::Duration};

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Query, ask_udp, rtype, summary},
    daemon::{Daemon, Home, attach, listen},
    harness::Test,
    loaded::attached,
    network::{DNS_V4, NODE_DEVICE, Network, dns},
};

use crate::setup::{By, Setup, with_each_hook};

/// So many that reading them takes a moment.
const SERVICES: u32 = 5000;
/// The last of them.
const LAST: u32 = SERVICES - 1;

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("start::nothing_before_the_zone", before_the_zone);
    tests.extend(with_each_hook("start::restarts", restarts));
    tests
}

fn before_the_zone(hook: &'static str) -> Result<()> {
    let network = Network::new()?;
    let home = Home::empty()?;
    let mut manifests = String::new();
    for number in 0..SERVICES {
        write!(
            manifests,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: shop}}\n\
             spec: {{clusterIP: 10.{}.{}.{}, ports: [{{port: 80}}]}}\n",
            100 + (number >> 16),
            number >> 8 & 255,
            number & 255
        )?;
    }
    home.write("many.yaml", &manifests)?;
    let arguments = [listen(), attach(hook)].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?;

    let last = Query::new(format!("s{LAST}.shop.svc.cluster.local"), rtype::A);
    let expected = format!("NOERROR 10.100.{}.{}", LAST >> 8, LAST & 255);
    let mut looks = 0;
    loop {
        let Ok(report) = daemon.report() else {
            thread::sleep(Duration::from_millis(1));
            continue; // it does not listen yet
        };
        if report.synchronised {
            break;
        }
        let on_device = attached(&network.node, NODE_DEVICE)?;
        // Asked after the look: a zone that is not complete now was not then.
        let found = summary(&ask_udp(&network.pod, dns(DNS_V4), &last)?)?;
        if found == "SERVFAIL" {
            ensure!(on_device.is_empty(), "attached before the zone is complete");
            looks += 1;
        } else {
            ensure!(found == expected, "{found} before the zone is complete");
        }
    }
    ensure!(looks > 0, "it was too fast to see: raise SERVICES");
    let setup = Setup {
        daemon: daemon.ready()?,
        network,
        home,
    };
    let (answer, by) = setup.ask(dns(DNS_V4), &last)?;
    let found = summary(&answer)?;
    ensure!(
        found == expected && by == By::Kernel,
        "{found} from the {by:?}"
    );
    println!("{hook}: looked {looks} times before the zone was complete");
    Ok(())
}

/// Every query during stops and starts that anybody answers is answered right.
fn restarts(hook: &'static str) -> Result<()> {
    let mut setup = Setup::new(hook)?;
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    for _ in 0..3 {
        setup.daemon.stop(libc::SIGTERM)?;
        setup.daemon = Daemon::start(&setup.network.node, &setup.home, hook)?;
        let (answer, by) = setup.ask(dns(DNS_V4), &query)?;
        ensure!(summary(&answer)? == "NOERROR 10.96.20.20");
        ensure!(by == By::Kernel, "after a restart the socket answered");
    }
    Ok(())
}
