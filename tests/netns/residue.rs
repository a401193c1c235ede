//! However the daemon ends, nothing of ours is left.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use hopzero_tests::{
    client::{self, Query, rtype},
    daemon::{Daemon, ended},
    harness::Test,
    loaded::{Loaded, attached},
    network::{DNS_V4, NODE_DEVICE, dns},
    pins::{BPFFS, files},
};

use crate::setup::{By, Setup, with_each_hook};

pub fn tests() -> Vec<Test> {
    with_each_hook("residue", residue)
}

fn residue(hook: &'static str) -> Result<()> {
    let mut setup = Setup::new(hook)?;
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    for (signal, expected) in [
        (libc::SIGTERM, "exit 0"),
        (libc::SIGKILL, "signal 9"),
        (libc::SIGINT, "exit 0"),
    ] {
        let (_, by) = setup.ask(dns(DNS_V4), &query)?;
        ensure!(by == By::Kernel, "before {signal}: not attached");
        let ours = Loaded::of(&setup.daemon.programs()?)?;
        ensure!(
            ours.programs.len() >= 4 && ours.links.len() == 1 && ours.maps.len() >= 4,
            "not as expected while it runs: {ours:?}"
        );
        let on_device: BTreeSet<u32> = attached(&setup.network.node, NODE_DEVICE)?
            .into_iter()
            .collect();
        // The others tell the time, and test the device.
        ensure!(
            on_device.len() == 1 && on_device.is_subset(&ours.programs),
            "on the device: {on_device:?}"
        );
        let pinned = files(Path::new(BPFFS))?;

        let log = setup.daemon.log();
        let status = setup.daemon.stop(signal)?;
        ensure!(ended(status) == expected, "{}: {log}", ended(status));
        ours.is_gone()
            .with_context(|| format!("after signal {signal}"))?;
        let on_device = attached(&setup.network.node, NODE_DEVICE)?;
        ensure!(on_device.is_empty(), "still on the device: {on_device:?}");
        ensure!(files(Path::new(BPFFS))? == pinned, "the bpffs has changed");
        let has_socket = setup.home.control().exists();
        ensure!(
            has_socket == (signal == libc::SIGKILL),
            "after signal {signal} the control socket is {}",
            if has_socket { "still there" } else { "gone" }
        );
        // The query goes where it went before: there is no server any more.
        let unanswered = client::ask_udp(&setup.network.pod, dns(DNS_V4), &query);
        ensure!(unanswered.is_err(), "somebody still answers");

        // The next one starts over what the last one left.
        setup.daemon = Daemon::start(&setup.network.node, &setup.home, hook)?;
    }
    Ok(())
}
