//! Server blocks from a seed: zones, ports, and plugins ahead of `kubernetes` and behind it.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, Result};
use hickory_proto::rr::Name;
use hopzero::{
    corefile::Corefile,
    plugin::{Environment, Plugin, Touch, builder::Block, wanted},
    server::Servers,
};

use crate::{
    generate::Random,
    meddler::{How, Meddler, Rotates, Upstream},
};

/// `kubernetes` with these zones and properties is the kernel's.
#[derive(Clone, Copy)]
pub struct Cluster {
    pub zones: &'static str,
    pub ttl: u32,
}

impl Cluster {
    pub fn generate(random: &mut Random) -> Self {
        Cluster {
            zones: random.of(&[
                "cluster.local in-addr.arpa ip6.arpa",
                "cluster.local in-addr.arpa ip6.arpa",
                "cluster.local",
                "cluster.local 10.0.0.0/8 10.96.0.0/12",
                "cluster.local 10.in-addr.arpa 96.10.in-addr.arpa fd00::/8",
                "cluster.local other.example in-addr.arpa ip6.arpa",
                // One is spelt like a namespace.
                "cluster.local ns.svc.cluster.local in-addr.arpa",
                "cluster.local clusterset.local in-addr.arpa ip6.arpa",
                "clusterset.local cluster.local other.example 10.0.0.0/8",
            ]),
            ttl: random.of(&[0, 5, 30]),
        }
    }

    /// The directive.
    fn directive(self, random: &mut Random) -> String {
        let fallthrough = random.of(&[
            "",
            "",
            "",
            "fallthrough in-addr.arpa ip6.arpa",
            "fallthrough in-addr.arpa ip6.arpa",
            "fallthrough",
            "fallthrough ns.svc.cluster.local 100.10.in-addr.arpa",
        ]);
        let Cluster { zones, ttl } = self;
        let multicluster = if zones.contains("clusterset.local") {
            "multicluster clusterset.local"
        } else {
            ""
        };
        format!("kubernetes {zones} {{\nttl {ttl}\n{multicluster}\n{fallthrough}\n}}")
    }
}

/// Server blocks may have these zones.
pub const INNER: [&str; 2] = ["ns.svc.cluster.local.", "svc.cluster.local."];

/// One server block.
struct Wanted {
    keys: &'static str,
    port: u16,
    kubernetes: Option<String>,
}

/// Servers; `rotated` is set where a query went through a plugin that rotates. The last word is their description.
pub fn generate(
    cluster: Cluster,
    names: &[String],
    environment: &Environment,
    rotated: &Arc<AtomicBool>,
    random: &mut Random,
) -> Result<(Servers, String)> {
    let port = random.of(&[53, 53, 5353]);
    let mut wanted = vec![Wanted {
        keys: random.of(&[
            ".",
            ".",
            "cluster.local in-addr.arpa ip6.arpa",
            "local arpa",
            "local arpa example",
        ]),
        port,
        kubernetes: Some(cluster.directive(random)),
    }];
    for keys in [
        "ns.svc.cluster.local 96.10.in-addr.arpa",
        "foo.cluster.local",
        "svc.cluster.local",
        "example.org",
    ] {
        if random.one_in(4) {
            let other = Cluster { ttl: 7, ..cluster };
            let kubernetes = match random.below(4) {
                0 | 1 => Some(cluster.directive(random)),
                2 => Some(other.directive(random)),
                _ => None,
            };
            wanted.push(Wanted {
                keys,
                port: if random.one_in(4) { 8053 } else { port },
                kubernetes,
            });
        }
    }
    let rotates_everywhere = random.one_in(3);
    let mut description = String::new();
    let mut blocks = Vec::new();
    for Wanted {
        keys,
        port,
        kubernetes,
    } in wanted
    {
        let mut ahead: Vec<Box<dyn Plugin>> = Vec::new();
        if rotates_everywhere != random.one_in(12) {
            ahead.push(Box::new(Rotates(Arc::clone(rotated))));
        }
        for _ in 0..random.of(&[0, 0, 1, 1, 2, 5]) {
            let meddler = Meddler {
                touch: touch(names, random),
                how: random.of(&[How::Refuse, How::Change, How::Rewrite]),
            };
            writeln!(description, "{:?} {:?}", meddler.touch, meddler.how)?;
            ahead.push(Box::new(meddler));
        }
        let keys: Vec<String> = keys.split(' ').map(|key| format!("{key}:{port}")).collect();
        let text = format!(
            "{} {{\n{}\n}}\n",
            keys.join(" "),
            kubernetes.unwrap_or_default()
        );
        description += &text;
        let corefile = Corefile::parse(Path::new("Corefile"), text, &|_| None)?;
        let block = &corefile.blocks[0];
        let built = Block::build_with(
            block,
            53,
            environment,
            &mut wanted::Wanted::default(),
            |plugins| {
                plugins.splice(0..0, ahead);
                plugins.push(Box::new(Upstream));
            },
        );
        blocks.push(built.map_err(|fault| anyhow::anyhow!(fault.message))?);
    }
    let servers = Servers::of(&blocks).map_err(anyhow::Error::msg);
    Ok((servers.context(description.clone())?, description))
}

fn touch(names: &[String], random: &mut Random) -> Touch {
    let mut name = Name::from_ascii(&names[random.below(names.len())]).expect("a name");
    for _ in 0..random.of(&[0, 0, 0, 1, 2, 3]) {
        if name.iter().len() > 2 {
            name = name.base_name();
        }
    }
    if random.one_in(3) {
        let label = random.of(&["foo", "nobody", "_http", "x"]);
        name = name.prepend_label(label).unwrap_or(name);
    }
    match random.below(10) {
        0..4 => Touch::Name(name),
        4 | 5 => Touch::Below(name),
        6 if random.one_in(2) => Touch::Present(name),
        6 => Touch::Absent(name),
        7 | 8 => Touch::Matching(
            random
                .of(&[
                    "^s1",
                    "x",
                    "^h1[0-9]?\\.",
                    "\\.ns\\.svc\\.cluster\\.local\\.$",
                    "^nobody\\.s[0-9]+x*\\.ns\\.svc\\.cluster\\.local\\.$",
                    "[0-9]\\.foo\\.cluster\\.local\\.$",
                    "y\\.example\\.org\\.$",
                    "(a|10)\\.in-addr\\.arpa\\.$",
                ])
                .to_owned(),
        ),
        _ if random.one_in(3) => Touch::Everything,
        _ => Touch::Below(
            random
                .of(&[
                    "foo.cluster.local.",
                    "pod.cluster.local.",
                    "x.pod.cluster.local.",
                    "example.org.",
                    "ip6.arpa.",
                    "local.",
                ])
                .parse()
                .expect("a name"),
        ),
    }
}
