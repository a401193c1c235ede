//! `hopzero status`: whether a running daemon has the whole cluster, and how old what it knows is.

use std::{fmt::Write as _, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use super::stats::{head, plain};
use crate::control::{self, Report};

const AFTER_HELP: &str = "\
Synchronised means: each list of the cluster was complete, its names are answered, by the kernel too where
programs are attached. It stays so when the API server is lost: what was known last is answered, and gets
older. The age is since the API server last spoke on its most silent watch; it says something every minute.

Examples:
  hopzero status
  hopzero status --max-age 300 || echo 'no news from the API server for five minutes'
  until hopzero status >/dev/null 2>&1; do sleep 1; done
  hopzero status --output json | jq .cluster.objects.services

Exit status: 0 when it is synchronised, 1 when it is not or is older than --max-age, 2 when the daemon
cannot be asked or the command line is wrong.";

/// The daemon cannot be asked.
const NOT_ASKED: u8 = 2;

/// Show whether a running daemon has the whole cluster, what it knows of it, and how old that is.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = control::PATH_DEFAULT)]
    control: PathBuf,

    /// Form of what is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// What is older than this is not in order.
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// One document for programs.
    Json,
}

pub(super) fn main(args: &Args) -> ExitCode {
    let report = match control::fetch(&args.control) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("hopzero: {error}");
            return ExitCode::from(NOT_ASKED);
        }
    };
    let text = match args.output {
        Output::Text => text(&report),
        Output::Json => format!("{:#}\n", document(&report)),
    };
    // Who reads only the beginning wants the exit status all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if is_in_order(&report, args.max_age) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn is_in_order(report: &Report, age_max: Option<f64>) -> bool {
    let age = report.cluster.age_seconds();
    let is_old = age_max.is_some_and(|most| age.is_some_and(|age| age > most));
    report.synchronised && !is_old
}

/// What of the kernel's report is shown: its key, and its unit.
const KERNEL: [(&str, &str); 5] = [
    ("names", ""),
    ("capacity", " names"),
    ("generation", ""),
    ("lease_seconds", " s"),
    ("devices", ""),
];

fn document(report: &Report) -> Value {
    let kernel = report.kernel.as_ref().map(|kernel| {
        let fields = KERNEL
            .iter()
            .map(|(key, _)| ((*key).to_owned(), kernel[key].clone()));
        Value::Object(fields.collect())
    });
    let mut cluster = json!(report.cluster);
    cluster["age_seconds"] = json!(report.cluster.age_seconds());
    json!({
        "version": report.version,
        "pid": report.pid,
        "uptime_seconds": report.uptime_seconds,
        "synchronised": report.synchronised,
        "cluster": cluster,
        "kernel": kernel,
    })
}

fn text(report: &Report) -> String {
    let cluster = &report.cluster;
    let mut text = head(report);
    let mut group_before = "";
    let mut row = |group: &'static str, name: &str, value: &str| {
        let shown = if group == group_before { "" } else { group };
        group_before = group;
        // A string has room for everything.
        let _ = writeln!(text, "{shown:<8}  {name:<37}  {value}");
    };
    let objects = &cluster.objects;
    for (name, count) in [
        ("namespaces", objects.namespaces),
        ("services", objects.services),
        ("endpoints", objects.endpoints),
        ("pods", objects.pods),
    ] {
        row("cluster", name, &count.to_string());
    }
    if objects.service_imports > 0 {
        row(
            "cluster",
            "service imports",
            &objects.service_imports.to_string(),
        );
    }
    if !cluster.watches.is_empty() {
        let age = cluster
            .age_seconds()
            .map_or_else(|| "not heard yet".to_owned(), seconds);
        row("cluster", "age", &age);
    }
    for watch in &cluster.watches {
        let heard = watch.age_seconds.map_or_else(
            || "not heard yet".to_owned(),
            |age| format!("heard {} ago", seconds(age)),
        );
        let value = format!(
            "{} objects, {heard}, {} lists, {} repairs",
            watch.objects, watch.lists, watch.audit_repairs
        );
        row("watches", &watch.watch, &value);
    }
    match &report.kernel {
        Some(kernel) if kernel.is_object() => {
            for (key, unit) in KERNEL {
                let value = match kernel[key].as_f64() {
                    Some(number) if key == "lease_seconds" => format!("{number:.1}"),
                    _ => plain(&kernel[key]),
                };
                row("kernel", key, &format!("{value}{unit}"));
            }
        }
        Some(_) => row("kernel", "attached when it is synchronised", ""),
        None => row("kernel", "not attached", ""),
    }
    text.lines().fold(String::new(), |mut lines, line| {
        lines += line.trim_end();
        lines.push('\n');
        lines
    })
}

fn seconds(age: f64) -> String {
    format!("{age:.1} s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::ClusterReport, socket::SocketSnapshot, source::cluster::WatchReport, state::Counts,
    };

    fn report(synchronised: bool, ages: [Option<f64>; 2]) -> Report {
        let watch = |name: &str, age_seconds| WatchReport {
            watch: name.to_owned(),
            objects: 7,
            age_seconds,
            lists: 2,
            audit_repairs: 1,
        };
        Report {
            version: "1.2.3".to_owned(),
            pid: 4711,
            uptime_seconds: 61,
            synchronised,
            cluster: ClusterReport {
                objects: Counts {
                    namespaces: 2,
                    services: 340,
                    endpoints: 5,
                    pods: 0,
                    service_imports: 2,
                },
                changed_unix: 1,
                watches: vec![watch("namespaces", ages[0]), watch("services", ages[1])],
            },
            kernel: Some(
                json!({"names": 450, "capacity": 4096, "generation": 3, "lease_seconds": 2.71,
                "devices": [{"device": "pod0", "mode": "tc"}], "counters": {"answered": 1}}),
            ),
            socket: SocketSnapshot::default(),
        }
    }

    #[test]
    fn everything_is_shown() {
        let text = text(&report(true, [Some(3.0), Some(0.25)]));
        for line in [
            "hopzero 1.2.3, pid 4711, up 1 min 1 s: synchronised",
            "cluster   namespaces                             2",
            "          services                               340",
            "          service imports                        2",
            "          age                                    3.0 s",
            "watches   namespaces                             7 objects, heard 3.0 s ago, 2 lists, 1 repairs",
            "kernel    names                                  450",
            "          capacity                               4096 names",
            "          generation                             3",
            "          lease_seconds                          2.7 s",
            "          devices                                pod0 tc",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        let document = document(&report(true, [Some(3.0), Some(0.25)]));
        assert_eq!(document["cluster"]["age_seconds"], 3.0);
        assert_eq!(document["cluster"]["objects"]["services"], 340);
        assert_eq!(document["kernel"]["lease_seconds"], 2.71);
        assert_eq!(document["kernel"]["counters"], Value::Null);
    }

    #[test]
    fn in_order_is_synchronised_and_not_too_old() {
        let (old, unheard) = ([Some(3.0), Some(61.0)], [None, Some(1.0)]);
        for (synchronised, ages, age_max, expected) in [
            (true, old, None, true),
            (true, old, Some(62.0), true),
            (true, old, Some(60.0), false),
            (false, old, None, false),
            (false, unheard, Some(60.0), false),
        ] {
            let report = report(synchronised, ages);
            assert_eq!(
                is_in_order(&report, age_max),
                expected,
                "{ages:?} {age_max:?}"
            );
        }
        assert!(text(&report(false, unheard)).contains("not heard yet"));
    }
}
