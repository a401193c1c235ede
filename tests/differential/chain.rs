//! Kernel = chain: what the kernel answers is byte for byte what the plugins of the server block would say, for
//! generated configurations, each of which follows on the one before in the same table. The plugins of the test answer, change
//! and rewrite what they say that they touch, ahead of the real `kubernetes`.
//!
//! Where several servers could be asked, it is what all of them would say.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result, bail, ensure};
use hopzero::{
    plugin::Environment,
    server::{Server, Servers},
    socket::{self, Transport},
    source::{Change, manifests},
};
use hopzero_tests::packets::{
    build::{
        CLIENT_PORT, CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, answer, message_of, v4, v6,
        wire_name,
    },
    kernel::{Loaded, Program},
    rotation,
};
use tokio::runtime::Runtime;

use crate::{
    configuration::{self, Cluster},
    generate::{self, Random},
};

const CLUSTERS: u64 = 25;
const CONFIGURATIONS_A_CLUSTER: u64 = 12;
const QUERIES_A_CONFIGURATION: u64 = 500;
const DS: u16 = 43;
/// At least so many of a hundred are answered by the kernel, over all configurations.
const ANSWERED_PERCENT_MIN: u64 = 15;

pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut answered = 0;
    for seed in 0..CLUSTERS {
        let cluster = one_cluster(seed, &runtime);
        answered += cluster.with_context(|| format!("seed {seed}"))?;
    }
    let configurations = CLUSTERS * CONFIGURATIONS_A_CLUSTER;
    let asked = configurations * QUERIES_A_CONFIGURATION;
    println!("{configurations} configurations, {asked} queries: answered {answered}");
    ensure!(
        answered * 100 >= asked * ANSWERED_PERCENT_MIN,
        "only {answered} of {asked} were answered"
    );
    Ok(())
}

/// Returns how many queries the kernel answered.
fn one_cluster(seed: u64, runtime: &Runtime) -> Result<u64> {
    let mut random = Random(seed);
    let environment = Environment::default();
    let rotated = Arc::new(AtomicBool::new(false));
    let cluster = Cluster::generate(&mut random);
    // The directive makes the zone.
    let some = ["cluster.local.".to_owned()];
    configuration::generate(cluster, &some, &environment, &rotated, &mut random)?;
    let zone = Arc::clone(&environment.clusters()[0]);
    let objects = manifests::yaml(&generate::manifests(&mut random))?;
    let mut batch: Vec<Change> = objects.iter().cloned().map(Change::Upsert).collect();
    batch.push(Change::Synchronised);
    zone.write().expect("whole").apply(batch, 1_700_000_000);
    let mut names: Vec<String> = {
        let zone = zone.read().expect("whole");
        zone.names().map(|name| name.to_ascii()).collect()
    };
    names.sort();
    // The empty names of the reverse zones are many.
    names.retain(|name| !name.ends_with("ip6.arpa.") || random.one_in(10));
    names.extend(
        ["foo", "1.foo", "x.pod", "rewritten"].map(|name| format!("{name}.cluster.local.")),
    );
    let mut loaded = Loaded::new(&zone.read().expect("whole"))?;

    let mut answered = 0;
    for number in 0..CONFIGURATIONS_A_CLUSTER {
        let (servers, description) =
            configuration::generate(cluster, &names, &environment, &rotated, &mut random)?;
        let allowance = servers.allowance(
            std::slice::from_ref(&zone),
            &[SERVER_V4.into(), SERVER_V6.into()],
        );
        let allowance = allowance.context("the first block has the cluster")?;
        let mut changed = zone.write().expect("whole").keep(allowance.kept());
        // Something comes or goes while it is kept.
        let object = &objects[random.below(objects.len())];
        let change = if random.one_in(2) {
            Change::Delete(object.key())
        } else {
            Change::Upsert(object.clone())
        };
        let publisher = &mut loaded.kernel.publisher;
        publisher.publish(&zone.read().expect("whole"), &changed);
        changed = zone
            .write()
            .expect("whole")
            .apply(vec![change], 1_700_000_001);
        publisher.publish(&zone.read().expect("whole"), &changed);
        loaded.kernel.rotate(allowance.rotate);

        let asked = asked(&servers);
        for index in 0..QUERIES_A_CONFIGURATION {
            // Whose DS it is, is a matter of server blocks.
            let message = if random.one_in(50) {
                message_of(&wire_name(random.of(&configuration::INNER)), DS)
            } else {
                generate::query(&names, &mut random)
            };
            let judged = judge(
                &mut loaded,
                &asked,
                &message,
                &rotated,
                runtime,
                &mut random,
            );
            let judged = judged
                .with_context(|| format!("configuration {number}, query {index}:\n{description}"));
            answered += u64::from(judged?);
        }
    }
    Ok(answered)
}

/// Who could be asked: all servers with `kubernetes`, on whatever port.
fn asked(servers: &Servers) -> Vec<Arc<Server>> {
    let has_kubernetes = |server: &Server| {
        let mut plugins = server.sites().flat_map(|(_, plugins)| plugins);
        plugins.any(|plugin| plugin.name() == "kubernetes")
    };
    let servers = servers.iter().map(|(_, server)| Arc::clone(server));
    servers.filter(|server| has_kubernetes(server)).collect()
}

/// Whether the kernel answered, which it may only as all servers would.
fn judge(
    loaded: &mut Loaded,
    asked: &[Arc<Server>],
    message: &[u8],
    rotated: &AtomicBool,
    runtime: &Runtime,
    random: &mut Random,
) -> Result<bool> {
    let (packet, client, local): (_, IpAddr, IpAddr) = if random.one_in(2) {
        (v4(message), CLIENT_V4.into(), SERVER_V4.into())
    } else {
        (v6(message), CLIENT_V6.into(), SERVER_V6.into())
    };
    let mut out = vec![0; 4096];
    let program = random.of(&[Program::Xdp, Program::Tc]);
    let (action, len) = loaded.run_raw(program, &packet, &mut out)?;
    match (program, action) {
        (Program::Xdp, 3) | (Program::Tc, 7) => {}
        (Program::Xdp, 2) | (Program::Tc, u32::MAX) => return Ok(false),
        _ => bail!("{program:?} returned {action}"),
    }
    let path = socket::Path {
        client: SocketAddr::new(client, CLIENT_PORT),
        local: SocketAddr::new(local, 53),
        transport: Transport::Udp,
    };
    for server in asked {
        rotated.store(false, Ordering::Relaxed);
        let reply = runtime.block_on(socket::answer(message, path, &**server));
        let reply = reply.map_err(|reason| anyhow::anyhow!("the chain is silent: {reason:?}"))?;
        let expected = answer(client, local, CLIENT_PORT, &reply.bytes);
        let same = out[..len] == expected
            || rotated.load(Ordering::Relaxed) && rotation::first(&expected, &out[..len]).is_some();
        ensure!(
            same,
            "{} {}: the kernel says\n{:02x?}\nand {} {}\n{:02x?}",
            question(message),
            u16::from_be_bytes([message[message.len() - 4], message[message.len() - 3]]),
            &out[..len],
            server.label(),
            reply.rcode,
            expected
        );
    }
    Ok(true)
}

fn question(message: &[u8]) -> String {
    hopzero_tests::client::parse(message).map_or_else(
        |_| String::new(),
        |message| {
            message
                .queries
                .first()
                .map(ToString::to_string)
                .unwrap_or_default()
        },
    )
}
