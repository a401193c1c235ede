//! A thousand configurations one after the other, and clients that miss none of them.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket as StdUdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use tempfile::TempDir;
use tokio::{net::UdpSocket, time::timeout};

use super::*;
use crate::cli::serve::sites::Sites;

const RELOADS: u32 = 1000;
const CLIENTS: usize = 4;
/// A query that is not answered by then is lost.
const PATIENCE: Duration = Duration::from_secs(5);

struct World {
    directory: TempDir,
    port: u16,
    live: Live,
    stage: Stage,
}

impl World {
    fn start(block: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = {
            let socket = StdUdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap().port()
        };
        let path = directory.path().join("Corefile");
        fs::write(&path, format!(".:{port} {{\n{block}\n}}\n")).unwrap();
        let mut live = Sites::of_corefile(&path, &[], false).unwrap().live.unwrap();
        let mut stage = Stage {
            counters: Arc::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        live.begin(&mut stage);
        World {
            directory,
            port,
            live,
            stage,
        }
    }

    fn becomes(&mut self, block: &str) {
        let text = format!(".:{} {{\n{block}\n}}\n", self.port);
        fs::write(self.directory.path().join("Corefile"), text).unwrap();
        self.live.look(&mut self.stage);
    }

    fn metric(&self, name: &str) -> String {
        let text = self.live.environment.metrics.text();
        let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let found = lines.find(|(named, _)| *named == name);
        found.map_or_else(String::new, |(_, value)| value.to_owned())
    }
}

async fn ask(socket: &UdpSocket) -> bool {
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
    socket.send(query).await.unwrap();
    let mut reply = [0; 512];
    let received = timeout(PATIENCE, socket.recv(&mut reply)).await;
    received.is_ok_and(|received| {
        received.is_ok_and(|bytes| bytes > 12 && reply[3].trailing_zeros() >= 4)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_is_lost_in_a_thousand_reloads() {
    let mut world = World::start("bind 127.0.0.1\nwhoami");
    let (asked, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket
            .connect((Ipv4Addr::LOCALHOST, world.port))
            .await
            .unwrap();
        let (asked, lost, is_over) = (asked.clone(), lost.clone(), is_over.clone());
        clients.spawn(async move {
            while !is_over.load(Relaxed) {
                let is_answered = ask(&socket).await;
                asked.fetch_add(1, Relaxed);
                lost.fetch_add(u64::from(!is_answered), Relaxed);
            }
        });
    }
    let mut bad = 0;
    for number in 0..RELOADS {
        let before = asked.load(Relaxed);
        match number % 10 {
            3 => world.becomes("bind 127.0.0.1\nwhoami\nnonsense"),
            // Nobody has this address (RFC 5737).
            7 => world.becomes(&format!(
                "bind 127.0.0.1 192.0.2.77\nwhoami\nlog {number}.example"
            )),
            // The sockets change: all addresses, or one.
            number if number % 2 == 0 => world.becomes(&format!("whoami\nlog {number}.example")),
            _ => world.becomes(&format!("bind 127.0.0.1\nwhoami\nlog {number}.example")),
        }
        bad += u32::from(number % 10 == 3 || number % 10 == 7);
        while asked.load(Relaxed) == before {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
    is_over.store(true, Relaxed);
    clients.join_all().await;
    let (asked, lost) = (asked.load(Relaxed), lost.load(Relaxed));
    assert_eq!(lost, 0, "of {asked}");
    assert!(asked >= u64::from(RELOADS));
    assert_eq!(world.metric("coredns_reload_failed_total"), bad.to_string());
    // The sockets of all addresses, and none that were left behind.
    world.becomes("whoami");
    while world.stage.tasks.len() > 1 {
        world.stage.tasks.join_next().await;
    }
    assert_eq!(world.live.sockets.len(), 1);
}

#[tokio::test]
async fn a_reload_keeps_the_cluster_and_what_was_counted() {
    let mut world =
        World::start("bind 127.0.0.1\nkubernetes cluster.local\nprometheus 127.0.0.1:0");
    let zones = world.live.zones();
    for zone in zones.hold().iter() {
        zone.write()
            .unwrap()
            .apply(vec![crate::source::Change::Synchronised], 7);
    }
    world.becomes("bind 127.0.0.1\nkubernetes cluster.local {\nttl 9\n}\nprometheus 127.0.0.1:0");
    let ttls = |zones: &Clusters| {
        let zones = zones.hold();
        let zones = zones.iter().map(|zone| zone.read().unwrap());
        zones
            .map(|zone| (zone.config().ttl, zone.is_synchronised()))
            .collect::<Vec<_>>()
    };
    // The old server may be with a query yet; after the next reload it is not.
    world.becomes(
        "bind 127.0.0.1\nkubernetes cluster.local {\nttl 9\n}\nlog\nprometheus 127.0.0.1:0",
    );
    assert_eq!(ttls(&zones), [(9, true)]);
    let enabled = |name: &str| {
        let server = format!("dns://127.0.0.1:{}", world.port);
        world.metric(&format!(
            r#"coredns_plugin_enabled{{name="{name}",server="{server}",view="",zone="."}}"#
        ))
    };
    assert_eq!([enabled("log"), enabled("errors")], ["1", ""]);
    assert_eq!(world.metric("coredns_reload_failed_total"), "0");
    let sha512 = &world.live.sha512;
    let version = format!(r#"coredns_reload_version_info{{hash="sha512",value="{sha512}"}}"#);
    assert_eq!(world.metric(&version), "1");
}
