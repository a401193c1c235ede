//! `hopzero stats`: what a running daemon counts.

use std::{
    collections::BTreeMap, fmt::Write as _, io::Write as _, path::PathBuf, process::ExitCode,
};

use clap::Parser;
use serde_json::Value;

use crate::control::{self, Report};

const AFTER_HELP: &str = "\
Examples:
  hopzero stats
  hopzero stats --control /tmp/hopzero.sock
  hopzero stats --json | jq .socket.answers

Exit status: 0, or 1 when no daemon answers.";

/// Show the counters of a running daemon, by reason.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = control::PATH_DEFAULT)]
    control: PathBuf,

    /// Print the daemon's report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let report = control::fetch(&args.control)?;
    let text = if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        table(&report)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The first line, and one that is empty: who says what follows.
pub(super) fn head(report: &Report) -> String {
    let synchronised = if report.synchronised {
        "synchronised"
    } else {
        "not synchronised"
    };
    format!(
        "hopzero {}, pid {}, up {}: {synchronised}\n\n",
        report.version,
        report.pid,
        duration(report.uptime_seconds),
    )
}

fn table(report: &Report) -> String {
    let mut rows = Vec::new();
    match &report.kernel {
        Some(kernel) => kernel_rows(kernel, &mut rows),
        None => rows.push(("kernel", "not attached".to_owned(), String::new())),
    }
    let socket = &report.socket;
    counter_rows("socket queries", &socket.queries, &mut rows);
    rows.push((
        "socket queries",
        "tcp connections".to_owned(),
        socket.connections.to_string(),
    ));
    counter_rows("socket answers", &socket.answers, &mut rows);
    rows.push((
        "socket answers",
        "of these truncated".to_owned(),
        socket.truncated.to_string(),
    ));
    counter_rows("socket dropped", &socket.dropped, &mut rows);

    let mut text = head(report);
    let width =
        |column: fn(&(&str, String, String)) -> usize| rows.iter().map(column).max().unwrap_or(0);
    let (what, value) = (width(|row| row.1.len()), width(|row| row.2.len()));
    let mut group_before = "";
    for (group, name, count) in &rows {
        let shown = if *group == group_before { "" } else { *group };
        group_before = *group;
        let line = format!("{shown:<15}  {name:<what$}  {count:>value$}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if let Some(devices) = report.kernel.as_ref().and_then(devices) {
        let _ = write!(text, "\n{devices}");
    }
    text
}

/// Each device with its mode and whether that works, what was not taken, and who else is there.
fn devices(kernel: &Value) -> Option<String> {
    let devices = kernel.get("devices")?.as_array()?;
    let field = |device: &Value, name: &str| device[name].as_str().map(str::to_owned);
    let rows: Vec<(String, String, String)> = (devices.iter())
        .map(|device| {
            let state = match (device["active"].as_bool(), field(device, "untested")) {
                (Some(true), _) => "active: a query has come back".to_owned(),
                (_, Some(why)) => format!("not tested: {why}"),
                _ => "NOT ACTIVE: its queries go where they would go without hopzero".to_owned(),
            };
            let mode = field(device, "mode").unwrap_or_else(|| "none".to_owned());
            (field(device, "device").unwrap_or_default(), mode, state)
        })
        .collect();
    let name = rows.iter().map(|row| row.0.len()).max()?;
    let mode = rows.iter().map(|row| row.1.len()).max()?;
    let mut text = String::from("devices\n");
    for (device, row) in devices.iter().zip(&rows) {
        let _ = writeln!(text, "  {:<name$}  {:<mode$}  {}", row.0, row.1, row.2);
        for (list, what) in [("refused", "not taken"), ("others", "also there")] {
            for entry in device[list].as_array().into_iter().flatten() {
                let _ = writeln!(text, "  {:<name$}  {what}: {}", "", plain(entry));
            }
        }
    }
    Some(text)
}

type Row = (&'static str, String, String);

fn counter_rows(group: &'static str, counters: &BTreeMap<String, u64>, rows: &mut Vec<Row>) {
    rows.extend(
        counters
            .iter()
            .map(|(name, count)| (group, name.clone(), count.to_string())),
    );
}

/// The kernel's part is the kernel module's to shape; what it adds is shown as it comes.
fn kernel_rows(kernel: &Value, rows: &mut Vec<Row>) {
    let Value::Object(fields) = kernel else {
        rows.push(("kernel", plain(kernel), String::new()));
        return;
    };
    let counters = fields.get("counters");
    let is_row = |name: &str| !matches!(name, "counters" | "devices");
    for (name, value) in fields.iter().filter(|(name, _)| is_row(name)) {
        rows.push(("kernel", name.clone(), plain(value)));
    }
    if let Some(Value::Object(counters)) = counters {
        for (name, count) in counters {
            rows.push(("kernel counters", name.clone(), plain(count)));
        }
    }
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields.values().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::SocketCounters;

    #[test]
    fn the_table_shows_every_part() {
        let kernel = serde_json::json!({
            "hook": "tc", "programs": [{"name": "dns_tc", "id": 7}],
            "counters": {"answered": 12, "not_ours": 3}, "names": 450, "capacity": 1_000_000,
            "devices": [
                {"device": "veth1", "mode": "tc", "active": true, "others": ["tcx theirs (id 7)"]},
                {"device": "veth22", "mode": "tc", "active": false, "untested": "the device is down"},
                {"device": "veth3", "active": false, "refused": ["cannot attach"]},
            ],
        });
        let report = Report {
            version: "1.2.3".to_owned(),
            pid: 4711,
            uptime_seconds: 3 * 3600 + 120,
            synchronised: true,
            cluster: control::ClusterReport::default(),
            kernel: Some(kernel),
            socket: SocketCounters::default().snapshot(),
        };
        let text = table(&report);
        assert!(text.starts_with("hopzero 1.2.3, pid 4711, up 3 h 2 min: synchronised\n"));
        for shown in [
            "  veth1   tc    active",
            "also there: tcx theirs (id 7)",
            "  veth22  tc    not tested: the device is down",
            "  veth3   none  NOT ACTIVE",
            "not taken: cannot attach",
            "dns_tc",
            "not_ours",
            "1000000",
            "NXDOMAIN",
            "source_port_zero",
        ] {
            assert!(text.contains(shown), "{shown} in\n{text}");
        }
        let without = table(&Report {
            kernel: None,
            ..report
        });
        assert!(without.contains("not attached"), "{without}");
    }

    #[test]
    fn durations() {
        let shown = [0, 59, 60, 3599, 3600, 86399, 86400, 90000].map(duration);
        let expected = [
            "0 s",
            "59 s",
            "1 min 0 s",
            "59 min 59 s",
            "1 h 0 min",
            "23 h 59 min",
            "1 d 0 h",
            "1 d 1 h",
        ];
        assert_eq!(shown, expected);
    }
}
