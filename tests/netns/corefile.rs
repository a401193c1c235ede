//! A Corefile with `--attach`: the kernel answers what the server blocks leave to it.

use std::fs;

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Query, rtype, summary},
    daemon::{Daemon, Home, attach},
    harness::Test,
    network::{DNS_V4, DNS_V6, NODE_V4, Network, dns},
};

use crate::setup::{By, Setup, with_each_hook};

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("corefile::kept_names", kept_names);
    tests.extend(with_each_hook("corefile::nothing_for_the_kernel", nothing));
    tests.extend(with_each_hook("corefile::nsid", nsid));
    tests
}

const COREFILE: &str = "
.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        ttl 30
        fallthrough in-addr.arpa ip6.arpa missing.svc.cluster.local
    }
    whoami
}
data.svc.cluster.local:53 dashboard.shop.svc.cluster.local:53 {
    whoami
}
";

/// A daemon that serves the shop as a Corefile says.
pub fn serve(hook: &str, corefile: &str) -> Result<Setup> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let path = home.manifests().with_file_name("Corefile");
    fs::write(&path, corefile)?;
    let path = path.to_string_lossy();
    let mut arguments = vec!["--conf".to_owned(), path.into_owned()];
    arguments.extend(attach(hook));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?.ready()?;
    Ok(Setup {
        daemon,
        network,
        home,
    })
}

#[rustfmt::skip]
const ROWS: &[(&str, u16, By, &str)] = &[
    ("checkout.shop.svc.cluster.local", rtype::A, By::Kernel, "NOERROR 10.96.20.20"),
    ("nothing.shop.svc.cluster.local", rtype::A, By::Kernel, "NXDOMAIN"),
    ("20.20.96.10.in-addr.arpa", rtype::PTR, By::Kernel, "NOERROR checkout.shop.svc.cluster.local."),
    // Another server block, for names that exist and for others.
    ("db.data.svc.cluster.local", rtype::A, By::Socket, "NOERROR"),
    ("nothing.data.svc.cluster.local", rtype::A, By::Socket, "NOERROR"),
    ("data.svc.cluster.local", rtype::A, By::Socket, "NOERROR"),
    ("dashboard.shop.svc.cluster.local", rtype::A, By::Socket, "NOERROR"),
    ("a.dashboard.shop.svc.cluster.local", rtype::A, By::Socket, "NOERROR"),
    // `kubernetes` falls through to `whoami`.
    ("a.missing.svc.cluster.local", rtype::A, By::Socket, "NOERROR"),
    ("200.20.96.10.in-addr.arpa", rtype::PTR, By::Socket, "NOERROR"),
    ("example.org", rtype::A, By::Socket, "NOERROR"),
];

fn kept_names(hook: &'static str) -> Result<()> {
    let setup = serve(hook, COREFILE)?;
    for (name, qtype, expected_by, expected) in ROWS {
        for query in [
            Query::new(*name, *qtype),
            Query::new(*name, *qtype).edns(&[]),
        ] {
            for address in [DNS_V4, DNS_V6] {
                let (answer, by) = setup.ask(dns(address), &query)?;
                let found = summary(&answer)?;
                ensure!(
                    found == *expected,
                    "{query:?}: {found} instead of {expected}"
                );
                ensure!(by == *expected_by, "{query:?} was answered by the {by:?}");
                if by == By::Kernel {
                    let (by_chain, by) = setup.ask(dns(NODE_V4), &query)?;
                    ensure!(
                        by == By::Socket && by_chain == answer,
                        "{query:?}: kernel and chain differ"
                    );
                }
            }
        }
    }
    Ok(())
}

/// No server block has `kubernetes`.
fn nothing(hook: &'static str) -> Result<()> {
    let setup = serve(hook, ".:53 {\nwhoami\n}\n")?;
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    let (answer, by) = setup.ask(dns(DNS_V4), &query)?;
    ensure!(
        by == By::Socket && summary(&answer)? == "NOERROR",
        "the {by:?} answered"
    );
    ensure!(
        setup.daemon.log().contains("the kernel answers nothing"),
        "{}",
        setup.daemon.log()
    );
    Ok(())
}

/// Who asks which server it is, is told by the socket; all others are answered by the kernel, as the socket does.
fn nsid(hook: &'static str) -> Result<()> {
    const NSID: [u8; 4] = [0, 3, 0, 0];
    const PADDING: [u8; 4] = [0, 12, 0, 0];
    let corefile = ".:53 {\nnsid rack 7\nkubernetes cluster.local\n}\n";
    let setup = serve(hook, corefile)?;
    let says_which = |answer: &[u8]| answer.windows(6).any(|bytes| bytes == b"rack 7");
    for (name, expected) in [
        ("checkout.shop.svc.cluster.local", "NOERROR 10.96.20.20"),
        ("nothing.shop.svc.cluster.local", "NXDOMAIN"),
    ] {
        let plain = Query::new(name, rtype::A);
        let others = [
            plain.clone(),
            plain.clone().edns(&[]),
            plain.clone().edns(&PADDING),
        ];
        for address in [DNS_V4, DNS_V6] {
            for query in &others {
                let (answer, by) = setup.ask(dns(address), query)?;
                ensure!(by == By::Kernel, "{query:?} was answered by the {by:?}");
                ensure!(summary(&answer)? == expected && !says_which(&answer));
                let (by_chain, _) = setup.ask(dns(NODE_V4), query)?;
                ensure!(by_chain == answer, "{query:?}: kernel and chain differ");
            }
            for options in [NSID.to_vec(), [PADDING, NSID].concat()] {
                let query = plain.clone().edns(&options);
                let (answer, by) = setup.ask(dns(address), &query)?;
                ensure!(by == By::Socket, "{query:?} was answered by the {by:?}");
                ensure!(summary(&answer)? == expected && says_which(&answer));
            }
        }
    }
    Ok(())
}
