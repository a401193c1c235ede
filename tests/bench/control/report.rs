//! What the API server sends, as figures and as the tables of docs/scale.md.

use hopzero::source::cluster::audit_pause_min;

use super::{
    load::{Both, CHANGES, Loads, float},
    objects::Shape,
};
use crate::figures::{Figures, Target};

/// Nodes of a large cluster.
const NODES: f64 = 5000.0;
/// Changes a second of a cluster of that size.
const RATE: f64 = 10.0;

/// A row beside `CoreDNS`'s.
struct Row {
    /// Its figure's name.
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    hopzero: f64,
    coredns: f64,
}

/// Prints both tables and adds what is in them to the figures.
pub fn report(loads: &Loads, shape: &Shape, figures: &mut Figures) {
    let mut rows = one_node(loads, shape);
    rows.extend(all_nodes(loads, shape));
    println!(
        "\n| what the API server sends | unit | hopzero | CoreDNS | NodeLocal DNSCache |\n|---|---|---|---|---|"
    );
    for row in &rows {
        println!(
            "| {} | {} | {:.1} | {:.1} | 0 |",
            row.what, row.unit, row.hopzero, row.coredns
        );
    }
    println!(
        "\n| one list of what hopzero watches | bytes, MB | CPU of the API server, ms | its memory grew by, MB |\n|---|---|---|---|"
    );
    let lists = [
        ("in pages", "paged", &loads.paged),
        ("streamed (WatchList)", "streamed", &loads.streamed),
        (
            "names and versions, in pages: an audit",
            "audit",
            &loads.audit,
        ),
    ];
    for (what, _, cost) in lists {
        println!(
            "| {what} | {:.1} | {:.0} | {:.1} |",
            cost.bytes / 1e6,
            cost.cpu_ms,
            cost.megabytes
        );
    }
    let mut add = |name: String, what: &str, unit, value| {
        figures.add(&name, what, unit, Target::None, vec![value]);
    };
    for row in rows {
        add(
            format!("load.{}.hopzero", row.name),
            row.what,
            row.unit,
            row.hopzero,
        );
        add(
            format!("load.{}.coredns", row.name),
            row.what,
            row.unit,
            row.coredns,
        );
    }
    for (_, name, cost) in lists {
        add(
            format!("load.{name}.bytes"),
            "bytes of a list",
            "MB",
            cost.bytes / 1e6,
        );
        add(
            format!("load.{name}.cpu"),
            "CPU of the API server for a list",
            "ms",
            cost.cpu_ms,
        );
        add(
            format!("load.{name}.memory"),
            "by how much the API server's memory grew",
            "MB",
            cost.megabytes,
        );
    }
}

fn one_node(loads: &Loads, shape: &Shape) -> Vec<Row> {
    // Ours are the services, and the slices of headless ones.
    let objects = (
        f64::from(shape.services() + shape.headless),
        f64::from(2 * shape.services()),
    );
    let audits = (loads.audit.bytes * audits_an_hour(shape) / 1e6, 0.0);
    [
        ("objects", "one node: objects of a first list", "", objects),
        (
            "list",
            "one node: bytes of a first list",
            "MB",
            times(&loads.list, 1e-6),
        ),
        (
            "list_all",
            "the same where every slice is wanted",
            "MB",
            times(&loads.list_all, 1e-6),
        ),
        (
            "service",
            "one node: a service changes",
            "bytes",
            each(&loads.service),
        ),
        (
            "endpoint",
            "one node: one of ten endpoints of a service with an address changes",
            "bytes",
            each(&loads.slice),
        ),
        (
            "headless_endpoint",
            "one node: one of ten endpoints of a headless service changes",
            "bytes",
            each(&loads.headless),
        ),
        ("audits", "one node: audits, an hour", "MB", audits),
    ]
    .map(row)
    .into()
}

fn all_nodes(loads: &Loads, shape: &Shape) -> Vec<Row> {
    let told = |both| {
        let (ours, theirs) = each(both);
        (ours * NODES * RATE / 1e6, theirs * NODES * RATE / 1e6)
    };
    let second = audits_an_hour(shape) * NODES / 3600.0;
    [
        (
            "all.list",
            "5,000 nodes: bytes of all first lists",
            "GB",
            times(&loads.list, NODES / 1e9),
        ),
        (
            "all.endpoint",
            "5,000 nodes: 10 endpoints of services with an address change a second",
            "MB/s",
            told(&loads.slice),
        ),
        (
            "all.headless_endpoint",
            "5,000 nodes: 10 endpoints of headless services change a second",
            "MB/s",
            told(&loads.headless),
        ),
        (
            "all.audits",
            "5,000 nodes: audits",
            "MB/s",
            (loads.audit.bytes * second / 1e6, 0.0),
        ),
        (
            "all.audits.cpu",
            "5,000 nodes: audits, CPUs of the API server",
            "",
            (loads.audit.cpu_ms * second / 1e3, 0.0),
        ),
    ]
    .map(row)
    .into()
}

fn row(
    (name, what, unit, (hopzero, coredns)): (&'static str, &'static str, &'static str, (f64, f64)),
) -> Row {
    Row {
        name,
        what,
        unit,
        hopzero,
        coredns,
    }
}

fn times(both: &Both, factor: f64) -> (f64, f64) {
    (float(both.hopzero) * factor, float(both.coredns) * factor)
}

fn each(both: &Both) -> (f64, f64) {
    times(both, 1.0 / f64::from(CHANGES))
}

/// Of each kind of objects on its own; here of all of them, as of the one that there is most of. The pause is half as much again as the
/// shortest, on average.
fn audits_an_hour(shape: &Shape) -> f64 {
    let services = usize::try_from(shape.services()).unwrap_or(usize::MAX);
    3600.0 / (1.5 * audit_pause_min(services).as_secs_f64())
}
