//! What one node costs the API server, and from that what 5,000 cost it.
//!
//! Bytes are those of the connections, as a proxy on the way has counted them: encrypted, and compressed where the API
//! server does that (long lists). CPU and memory are those of the API server's process.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Result, bail};
use futures_util::StreamExt as _;
use hopzero_tests::namespace::Namespace;
use kube::{
    Client,
    core::{
        DynamicObject, ObjectList, PartialObjectMeta, Request, WatchEvent,
        params::{ListParams, WatchParams},
    },
};

use super::{
    memory,
    objects::{SERVICES, SLICES, Shape},
    plane::{Plane, cpu_seconds},
    proxy::Proxy,
};
use crate::figures::{Figures, Target};

/// Objects that change, of each kind.
const CHANGES: u32 = 200;
/// All of them have been told by then.
const TOLD: Duration = Duration::from_secs(2);
/// Lists of either sort.
const LISTS: u32 = 5;
/// Nodes of a large cluster.
const NODES: f64 = 5000.0;
/// Audits an hour: one in 5 to 10 minutes.
const AUDITS: f64 = 8.0;
/// Objects of a page, as hopzero asks for them.
const PAGE_SERVICES: u32 = 500;
const PAGE_SLICES: u32 = 50;
/// Slices that hopzero watches unless an option wants all.
const SELECTOR: &str = "service.kubernetes.io/headless,endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

/// Of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Both {
    /// Bytes.
    pub hopzero: u64,
    /// Bytes.
    pub coredns: u64,
}

/// A way to list, as it costs the API server.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    bytes: f64,
    cpu_ms: f64,
    /// By how much its memory grew at most.
    megabytes: f64,
}

/// All that was counted.
#[derive(Debug, Default)]
pub struct Loads {
    /// The start.
    pub list: Both,
    /// The same where every slice is wanted.
    pub list_all: Both,
    /// [`CHANGES`] services.
    service: Both,
    /// As many slices of services with an address.
    slice: Both,
    /// As many of headless ones.
    headless: Both,
    paged: Cost,
    streamed: Cost,
    audit: Cost,
}

/// What both are told of changes.
pub fn changes(
    plane: &Plane,
    node: &Namespace,
    shape: &Shape,
    by: (&Proxy, &Proxy),
    loads: &mut Loads,
) -> Result<()> {
    println!("changes …");
    for (slices, from, told) in [
        (false, 0, &mut loads.service),
        (true, 0, &mut loads.slice),
        (true, shape.cluster_ip, &mut loads.headless),
    ] {
        let before = (by.0.down(), by.1.down());
        plane.touch(node, slices, from, CHANGES)?;
        thread::sleep(TOLD);
        *told = Both {
            hopzero: by.0.down() - before.0,
            coredns: by.1.down() - before.1,
        };
    }
    Ok(())
}

/// What lists cost the API server, in pages and streamed, and what an audit does.
pub fn lists(plane: &Plane, node: &Namespace, loads: &mut Loads) -> Result<()> {
    println!("lists …");
    let proxy = Proxy::start(node, plane.server)?;
    let by = proxy.address;
    loads.paged = cost(plane, &proxy, || work(plane, node, by, Sort::Paged))?;
    loads.streamed = cost(plane, &proxy, || work(plane, node, by, Sort::Streamed))?;
    loads.audit = cost(plane, &proxy, || work(plane, node, by, Sort::Names))?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Sort {
    Paged,
    Streamed,
    /// Names and versions, in pages.
    Names,
}

/// [`LISTS`] of all services, and of the slices of headless ones.
fn work(plane: &Plane, node: &Namespace, by: SocketAddr, sort: Sort) -> Result<()> {
    plane.with_client(node, by, async move |client: Client| {
        for _ in 0..LISTS {
            for (path, selector, page) in [
                (SERVICES, "", PAGE_SERVICES),
                (SLICES, SELECTOR, PAGE_SLICES),
            ] {
                match sort {
                    Sort::Streamed => streamed(&client, path, selector).await?,
                    Sort::Paged => paged(&client, path, selector, page, false).await?,
                    Sort::Names => paged(&client, path, selector, page, true).await?,
                }
            }
        }
        Ok(())
    })
}

async fn paged(client: &Client, path: &str, selector: &str, page: u32, names: bool) -> Result<()> {
    let mut params = ListParams::default().labels(selector).limit(page);
    loop {
        let request = Request::new(path);
        let next = if names {
            let request = request.list_metadata(&params)?;
            let list: ObjectList<PartialObjectMeta> = client.request(request).await?;
            list.metadata.continue_
        } else {
            let list: ObjectList<DynamicObject> = client.request(request.list(&params)?).await?;
            list.metadata.continue_
        };
        match next.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

async fn streamed(client: &Client, path: &str, selector: &str) -> Result<()> {
    let params = WatchParams::default().labels(selector).initial_events();
    let request = Request::new(path).watch(&params, "")?;
    let mut events = client
        .request_events::<DynamicObject>(request)
        .await?
        .boxed();
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Bookmark(bookmark)
                if bookmark
                    .metadata
                    .annotations
                    .contains_key("k8s.io/initial-events-end") =>
            {
                return Ok(());
            }
            WatchEvent::Error(status) => bail!("{status:?}"),
            _ => {}
        }
    }
    bail!("a stream ended early")
}

fn cost(plane: &Plane, proxy: &Proxy, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let server = plane.api_server()?;
    memory::forget_peak(server)?;
    let (bytes, cpu) = (proxy.down(), cpu_seconds(server)?);
    let resident = memory::status(server, "VmRSS:")?;
    work()?;
    let lists = f64::from(LISTS);
    Ok(Cost {
        bytes: float(proxy.down() - bytes) / lists,
        cpu_ms: (cpu_seconds(server)? - cpu) * 1e3 / lists,
        megabytes: (memory::status(server, "VmHWM:")? - resident).max(0.0),
    })
}

impl Loads {
    /// As figures, and as the table of docs/scale.md.
    pub fn report(&self, shape: &Shape, figures: &mut Figures) {
        let changes = f64::from(CHANGES);
        let slim = f64::from(shape.services() + shape.headless);
        let all = f64::from(2 * shape.services());
        let mut rows = Vec::new();
        let mut row = |what: &str, unit: &'static str, ours: f64, theirs: f64| {
            rows.push((what.to_owned(), unit, ours, theirs));
        };
        row("one node: objects of a first list", "", slim, all);
        row(
            "one node: bytes of a first list",
            "MB",
            mega(self.list.hopzero),
            mega(self.list.coredns),
        );
        row(
            "the same where every slice is wanted",
            "MB",
            mega(self.list_all.hopzero),
            mega(self.list_all.coredns),
        );
        let each = |both: &Both| (float(both.hopzero) / changes, float(both.coredns) / changes);
        for (what, both) in [
            ("one node: a service changes", &self.service),
            (
                "one node: one of ten endpoints of a service with an address changes",
                &self.slice,
            ),
            (
                "one node: one of ten endpoints of a headless service changes",
                &self.headless,
            ),
        ] {
            let (ours, theirs) = each(both);
            row(what, "bytes", ours, theirs);
        }
        row(
            "one node: audits, an hour",
            "MB",
            self.audit.bytes * AUDITS / 1e6,
            0.0,
        );
        row(
            "5,000 nodes: bytes of all first lists",
            "GB",
            mega(self.list.hopzero) * NODES / 1e3,
            mega(self.list.coredns) * NODES / 1e3,
        );
        let ten = each(&self.slice);
        row(
            "5,000 nodes: bytes a second, 10 endpoints of services with an address change a second",
            "MB/s",
            ten.0 * NODES * 10.0 / 1e6,
            ten.1 * NODES * 10.0 / 1e6,
        );
        let ten = each(&self.headless);
        row(
            "5,000 nodes: bytes a second, 10 endpoints of headless services change a second",
            "MB/s",
            ten.0 * NODES * 10.0 / 1e6,
            ten.1 * NODES * 10.0 / 1e6,
        );
        row(
            "5,000 nodes: audits, bytes a second",
            "MB/s",
            self.audit.bytes * AUDITS * NODES / 3600.0 / 1e6,
            0.0,
        );
        row(
            "5,000 nodes: audits, CPUs of the API server",
            "",
            self.audit.cpu_ms * AUDITS * NODES / 3600.0 / 1e3,
            0.0,
        );
        println!(
            "\n| what the API server sends | unit | hopzero | CoreDNS | NodeLocal DNSCache |\n|---|---|---|---|---|"
        );
        for (what, unit, ours, theirs) in &rows {
            println!("| {what} | {unit} | {ours:.1} | {theirs:.1} | 0 |");
        }
        println!(
            "\n| one list of what hopzero watches | bytes, MB | CPU of the API server, ms | its memory grew by, MB |\n|---|---|---|---|"
        );
        for (what, cost) in [
            ("in pages", &self.paged),
            ("streamed (WatchList)", &self.streamed),
            ("names and versions, in pages: an audit", &self.audit),
        ] {
            println!(
                "| {what} | {:.1} | {:.0} | {:.1} |",
                cost.bytes / 1e6,
                cost.cpu_ms,
                cost.megabytes
            );
        }
        for (name, (what, unit, ours, theirs)) in NAMES.iter().zip(&rows) {
            for (who, value) in [("hopzero", ours), ("coredns", theirs)] {
                figures.add(
                    &format!("load.{name}.{who}"),
                    what,
                    unit,
                    Target::None,
                    vec![*value],
                );
            }
        }
        for (name, cost) in [
            ("paged", &self.paged),
            ("streamed", &self.streamed),
            ("audit", &self.audit),
        ] {
            for (suffix, what, unit, value) in [
                ("bytes", "bytes of a list", "MB", cost.bytes / 1e6),
                ("cpu", "CPU of the API server for a list", "ms", cost.cpu_ms),
                (
                    "memory",
                    "by how much the API server's memory grew",
                    "MB",
                    cost.megabytes,
                ),
            ] {
                figures.add(
                    &format!("load.{name}.{suffix}"),
                    what,
                    unit,
                    Target::None,
                    vec![value],
                );
            }
        }
    }
}

/// Of the first rows, as figures have them; the others are made of these.
const NAMES: [&str; 7] = [
    "objects",
    "list",
    "list_all",
    "service",
    "endpoint",
    "headless_endpoint",
    "audits",
];

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

fn mega(bytes: u64) -> f64 {
    float(bytes) / 1e6
}
