//! The metrics of `CoreDNS` and ours, under the same configuration and the same queries.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};

use crate::corefile::{Daemon, free_port};

const COREFILE: &str = include_str!("metrics/Corefile");
const COREDNS: &str = include_str!("metrics/coredns.txt");

/// Families of plugins that are not in the Corefile, and what Linux does not say of one process.
const NOT_OURS: [&str; 4] = [
    "coredns_hosts_",
    "coredns_local_",
    "process_network_",
    "process_virtual_memory_max_bytes",
];

#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    /// In their order, of one histogram.
    buckets: Vec<String>,
}

/// Name, labels with their values, and value.
fn sample(line: &str) -> (&str, Vec<(&str, &str)>, &str) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}').split_terminator(',');
    let labels = labels.map(|label| label.split_once('=').unwrap());
    (name, labels.collect(), value)
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("# TYPE ") {
            let (name, kind) = named.split_once(' ').unwrap();
            name.clone_into(&mut current);
            kind.clone_into(&mut families.entry(current.clone()).or_default().kind);
        } else if !line.starts_with('#') {
            let (_, labels, _) = sample(line);
            let family = families.get_mut(&current).unwrap();
            for (label, value) in labels {
                if label != "le" {
                    family.labels.insert(label.to_owned());
                } else if !family.buckets.iter().any(|bucket| bucket == value) {
                    family.buckets.push(value.to_owned());
                }
            }
        }
    }
    // A family without a sample is none to `CoreDNS`.
    let has_sample = |name: &str| {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.any(|line| line.starts_with(name))
    };
    families
        .retain(|name, _| has_sample(name) && !NOT_OURS.iter().any(|not| name.starts_with(not)));
    families
}

/// Queries and replies, with the ports of one's own.
fn counters(text: &str, ports: [(&str, u16); 2]) -> BTreeSet<String> {
    let counted = text.lines().filter(|line| {
        let of_queries = [
            "coredns_dns_requests_total",
            "coredns_dns_responses_total",
            "coredns_dns_do_",
        ];
        of_queries.iter().any(|name| line.starts_with(name))
    });
    let counted = counted.map(|line| {
        let line = ports.iter().fold(line.to_owned(), |line, (name, port)| {
            line.replace(&format!("127.0.0.1:{port}"), name)
        });
        // `CoreDNS` 1.15 names the plugin behind `prometheus`, whoever wrote the reply.
        let plugin = regex::Regex::new(r#"plugin="\w+""#).unwrap();
        plugin.replace_all(&line, "plugin=ONE").into_owned()
    });
    counted.collect()
}

fn query(name: &str, rtype: RecordType, dnssec_ok: bool) -> Vec<u8> {
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    if dnssec_ok {
        message.edns.get_or_insert_default().set_dnssec_ok(true);
    }
    message.to_vec().unwrap()
}

#[test]
fn families_and_counts_are_those_of_coredns() {
    let (health, upstream) = (free_port(), free_port());
    let corefile = COREFILE.replace("$HEALTH", &health.to_string());
    let corefile = corefile.replace("$UPSTREAM", &upstream.to_string());
    let daemon = Daemon::start(&corefile);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", daemon.port)).unwrap();
    let ask = |name, rtype, dnssec_ok| {
        socket.send(&query(name, rtype, dnssec_ok)).unwrap();
        socket.recv(&mut [0; 512]).unwrap();
    };
    ask("example.org.", RecordType::A, false);
    ask("example.org.", RecordType::HINFO, true);
    ask("example.com.", RecordType::A, false);
    daemon.ask_over_tcp(&query("example.org.", RecordType::AAAA, false));
    let text = daemon.get("/metrics").1;
    let ports = |port, upstream| [("SERVER", port), ("UPSTREAM", upstream)];
    assert_eq!(
        counters(&text, ports(daemon.port, upstream)),
        counters(COREDNS, ports(15353, 15354))
    );
    // Of 16 sockets to an upstream one has been used before, then.
    for _ in 0..17 {
        ask("example.org.", RecordType::A, false);
    }
    let text = daemon.get("/metrics").1;
    assert_eq!(families(&text), families(COREDNS));
}
