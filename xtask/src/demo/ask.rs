//! Asks through plain resolvers: dig, the C library's `getent`, and `hopzero query`.

use std::{
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result};

use super::{
    network::{DNS_IPV4, DNS_IPV6, Network},
    questions::{Expected, Over, Question},
};
use crate::{signals, workspace};

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// `NOERROR`, `NXDOMAIN`, …, or that there was none.
    pub status: String,
    /// The records' data, sorted.
    pub records: Vec<String>,
}

impl Reply {
    fn new(status: impl Into<String>, mut records: Vec<String>) -> Self {
        records.sort_unstable();
        records.dedup();
        Self {
            status: status.into(),
            records,
        }
    }

    /// Whether it is what had to come back.
    pub fn is(&self, expected: Expected) -> bool {
        let (status, records): (_, &[&str]) = match expected {
            Expected::Records(records) => ("NOERROR", records),
            Expected::NoData => ("NOERROR", &[]),
            Expected::NxDomain => ("NXDOMAIN", &[]),
            Expected::Refused => ("REFUSED", &[]),
        };
        *self
            == Self::new(
                status,
                records.iter().map(|&text| text.to_owned()).collect(),
            )
    }

    /// For the table.
    pub fn text(&self) -> String {
        match (&*self.status, &*self.records) {
            ("NOERROR", []) => "NODATA".to_owned(),
            ("NOERROR", [one]) => one.clone(),
            ("NOERROR", [first, rest @ ..]) => format!("{first} and {} more", rest.len()),
            (status, _) => status.to_owned(),
        }
    }
}

/// Asks from the pod, as the question wants to be asked.
pub fn from_pod(network: &Network, question: &Question) -> Result<Reply> {
    if question.over == Over::Libc {
        // `ip netns exec` gives the C library the pod's own resolv.conf.
        let mut command = workspace::command("ip");
        command.args(["netns", "exec", network.pod.name()]);
        command.args(["getent", question.rtype, question.name]);
        return Ok(read_getent(question.rtype, &run(command)?));
    }
    let mut command = workspace::command("dig");
    let (server, family) = if question.over.is_ipv6() {
        (DNS_IPV6, "-6")
    } else {
        (DNS_IPV4, "-4")
    };
    let edns = if question.over.has_edns() {
        "+edns=0"
    } else {
        "+noedns"
    };
    // -r: a .digrc of the user's must not change the question.
    command.args(["-r", family, &format!("@{server}"), &question.owner()]);
    command.args([question.rtype, edns, "+time=2", "+tries=1"]);
    command.args(["+noall", "+comments", "+answer"]);
    network.pod.enter(&mut command)?;
    let output = run(command)?;
    Ok(read_dig(&String::from_utf8_lossy(&output.stdout)))
}

/// Asks a server on loopback with the daemon's own client.
pub fn with_query(hopzero: &Path, server: SocketAddr, question: &Question) -> Result<Reply> {
    let mut command = workspace::command(&hopzero.to_string_lossy());
    command.args(["query", &question.owner(), question.rtype, "--server"]);
    command.arg(server.to_string());
    Ok(read_query(&run(command)?))
}

fn run(mut command: Command) -> Result<Output> {
    signals::check()?;
    let program = command.get_program().to_owned();
    command
        .process_group(0)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// `;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1` and lines of `owner ttl class type data`.
fn read_dig(text: &str) -> Reply {
    let status = text
        .lines()
        .find_map(|line| line.split_once("status: "))
        .and_then(|(_, rest)| rest.split(',').next())
        .unwrap_or("no answer");
    let records = text
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty())
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().skip(4).collect();
            words.join(" ")
        })
        .collect();
    Reply::new(status, records)
}

/// `10.96.20.20     STREAM checkout.shop.svc.cluster.local`, or for `hosts` address and name.
fn read_getent(database: &str, output: &Output) -> Reply {
    let word = usize::from(database == "hosts");
    let records = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| Some(line.split_whitespace().nth(word)?.to_owned()))
        .collect();
    let status = match output.status.code() {
        Some(0) => "NOERROR",
        _ => "not found",
    };
    Reply::new(status, records)
}

/// dig's short form; an error's exit code is 10 and its RCODE.
fn read_query(output: &Output) -> Reply {
    let records = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    let status = match output.status.code() {
        Some(0) => "NOERROR",
        Some(13) => "NXDOMAIN",
        Some(15) => "REFUSED",
        _ => "no answer",
    };
    Reply::new(status, records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_dig_prints() {
        let reply = read_dig(
            ";; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 4242\n\
             ;; flags: qr aa rd; QUERY: 1, ANSWER: 2\n\n;; ANSWER SECTION:\n\
             _x._tcp.a.\t5\tIN\tSRV\t0 50 80 b.\n_x._tcp.a.\t5\tIN\tSRV\t0 50 80 a.\n",
        );
        assert!(reply.is(Expected::Records(&["0 50 80 a.", "0 50 80 b."])));
        assert_eq!(reply.text(), "0 50 80 a. and 1 more");
        let reply = read_dig(";; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 1\n");
        assert!(reply.is(Expected::NxDomain) && !reply.is(Expected::NoData));
        let reply = read_dig(";; communications error to 10.96.0.10#53: timed out\n");
        assert_eq!(reply.text(), "no answer");
    }

    #[test]
    fn a_record_too_many_is_not_what_was_expected() {
        let reply = Reply::new("NOERROR", vec!["10.0.0.1".into(), "10.0.0.2".into()]);
        assert!(!reply.is(Expected::Records(&["10.0.0.1"])));
        assert!(!reply.is(Expected::NoData));
        assert!(reply.is(Expected::Records(&["10.0.0.2", "10.0.0.1"])));
    }
}
