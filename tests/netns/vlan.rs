//! Tags of VLANs, in the frame and beside it, at both hooks.
//!
//! The kernel of the tests has no VLAN devices: a program at the pod's end does what one would do. Where
//! its device puts tags into frames, as a cable has them, they are there for XDP; where it does not, they
//! come across the veth beside the packet.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType},
};
use hopzero_tests::{
    client::{Client, Query, rtype, summary},
    daemon::{Daemon, Home, attach, counter, listen},
    harness::Test,
    network::{DNS_V4, DNS_V6, Network, POD_DEVICE, dns},
    offload::{Offload, switch},
};

use crate::setup::HOOKS;

/// After that an answer will not come.
const NONE_AFTER: Duration = Duration::from_millis(300);
/// Of each question.
const QUERIES: u16 = 50;

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for hook in HOOKS {
        for tag in [Tag::InFrame, Tag::Beside] {
            let name = |what: &str| format!("vlan::{what}::{tag:?}::{hook}");
            let configured = move || configured(hook, tag);
            tests.push(Test::new(name("configured"), configured));
            tests.push(Test::new(name("another"), move || another(hook, tag)));
        }
    }
    tests
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    InFrame,
    Beside,
}

struct Vlan {
    // Dropped first: it runs in the network, from the home.
    daemon: Daemon,
    _programs: Ebpf,
    network: Network,
    _home: Home,
}

impl Vlan {
    /// A pod in VLAN 100, and a daemon that answers in this one.
    fn new(hook: &str, tag: Tag, vlan: &str) -> Result<Self> {
        let network = Network::new()?;
        let home = Home::shop()?;
        if tag == Tag::InFrame {
            switch(&network.pod, POD_DEVICE, Offload::VlanTags, false)?;
        }
        let arguments = [listen(), attach(hook)].concat();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["--vlan", vlan]);
        let daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?.ready()?;
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/hopzero-tag.o");
        let programs = network.pod.within(|| {
            let mut programs = Ebpf::load_file(object)?;
            for (name, direction) in [
                ("tag_push", TcAttachType::Egress),
                ("tag_pop", TcAttachType::Ingress),
            ] {
                let program = programs.program_mut(name).context("no program")?;
                let program: &mut SchedClassifier = program.try_into()?;
                program.load()?;
                program.attach(POD_DEVICE, direction)?;
            }
            Ok(programs)
        })?;
        Ok(Self {
            daemon,
            _programs: programs,
            network,
            _home: home,
        })
    }
}

fn configured(hook: &'static str, tag: Tag) -> Result<()> {
    let vlan = Vlan::new(hook, tag, "100")?;
    for (name, qtype, expected) in [
        (
            "checkout.shop.svc.cluster.local",
            rtype::A,
            "NOERROR 10.96.20.20",
        ),
        (
            "cart.shop.svc.cluster.local",
            rtype::AAAA,
            "NOERROR fd00:10:96::2030",
        ),
        ("nothing.shop.svc.cluster.local", rtype::A, "NXDOMAIN"),
    ] {
        for server in [DNS_V4, DNS_V6] {
            let client = Client::new(&vlan.network.pod, dns(server))?;
            for id in 0..QUERIES {
                let mut query = Query::new(name, qtype).id(id);
                if id % 2 == 0 {
                    query = query.edns(&[]);
                }
                let answer = client
                    .ask(&query.bytes())
                    .with_context(|| format!("{server}: {query:?}"))?;
                let found = summary(&answer)?;
                ensure!(found == expected, "{query:?}: {found}");
            }
        }
    }
    let report = vlan.daemon.report()?;
    ensure!(counter(&report, "answered") == u64::from(6 * QUERIES));
    ensure!(counter(&report, "vlan") == 0);
    Ok(())
}

fn another(hook: &'static str, tag: Tag) -> Result<()> {
    let vlan = Vlan::new(hook, tag, "101")?;
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    for server in [DNS_V4, DNS_V6] {
        let client = Client::new(&vlan.network.pod, dns(server))?;
        client.patience(NONE_AFTER)?;
        let before = vlan.daemon.report()?;
        let answer = client.ask(&query.bytes());
        let after = vlan.daemon.report()?;
        let moved = |label| counter(&after, label) - counter(&before, label);
        let counted = (moved("answered"), moved("vlan"));
        if hook == "xdp-generic" && tag == Tag::Beside {
            // No program at this hook can see the tag. It stays beside the packet on the way back.
            ensure!(counted == (1, 0), "{server}: {counted:?}");
            ensure!(summary(&answer?)? == "NOERROR 10.96.20.20");
        } else {
            ensure!(counted == (0, 1), "{server}: {counted:?}");
            ensure!(answer.is_err(), "{server}: somebody answered");
        }
    }
    Ok(())
}
