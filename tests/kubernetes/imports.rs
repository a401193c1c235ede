//! Services of a set of clusters (the Multi-Cluster Services API), near misses among them, and their names.

use std::fmt::Write as _;

const HTTP: &str = "ports: [{name: http, port: 80, protocol: TCP}]";

/// Namespace, name, and the rest of the object; those of `ns-2` have its label.
const IMPORTS: [(&str, &str, &str); 14] = [
    ("ns-1", "web", "type: ClusterSetIP, ips: [10.97.0.1], HTTP"),
    (
        "ns-1",
        "dual",
        "type: ClusterSetIP, ips: ['fd00:97::2', 10.97.0.2], ports: [{name: http, port: 80, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]",
    ),
    (
        "ns-1",
        "six",
        "type: ClusterSetIP, ips: ['fd00:97::3'], HTTP",
    ),
    (
        "ns-1",
        "unnamed",
        "type: ClusterSetIP, ips: [10.97.0.4], ports: [{port: 8080, protocol: TCP}]",
    ),
    // No address has been given to it yet.
    ("ns-1", "bare", "type: ClusterSetIP, ips: [], HTTP"),
    (
        "ns-1",
        "portless",
        "type: ClusterSetIP, ips: [10.97.0.5], ports: []",
    ),
    ("ns-1", "set", "type: ClusterSetIP, ips: [10.97.0.6], HTTP"),
    ("ns-1", "db", "type: Headless, HTTP"),
    ("ns-1", "db6", "type: Headless, HTTP"),
    ("ns-1", "empty", "type: Headless, HTTP"),
    // Also a service of the cluster's own, with other addresses.
    ("ns-1", "s-0", "type: ClusterSetIP, ips: [10.97.0.7], HTTP"),
    ("ns-2", "web", "type: ClusterSetIP, ips: [10.97.0.8], HTTP"),
    ("ns-2", "db", "type: Headless, HTTP"),
    // As long as names can be.
    (
        "ns-1",
        "l23456789012345678901234567890123456789012345678901234567890123",
        "type: ClusterSetIP, ips: [10.97.0.9], HTTP",
    ),
];

/// Namespace, import, cluster, family, endpoints.
const SLICES: [(&str, &str, &str, &str, &str); 9] = [
    (
        "ns-1",
        "db",
        "east",
        "IPv4",
        "[{addresses: [10.250.0.1], hostname: a}, {addresses: [10.250.0.2]}, {addresses: [10.250.0.3], hostname: notready, conditions: {ready: false}}]",
    ),
    (
        "ns-1",
        "db",
        "west",
        "IPv4",
        "[{addresses: [10.250.1.1], hostname: a}, {addresses: [10.250.1.2], hostname: b}]",
    ),
    (
        "ns-1",
        "db",
        "away",
        "IPv4",
        "[{addresses: [10.250.2.1], hostname: a, conditions: {ready: false}}]",
    ),
    (
        "ns-1",
        "db6",
        "west",
        "IPv6",
        "[{addresses: ['fd00:250::1'], hostname: a}, {addresses: ['fd00:250::']}]",
    ),
    (
        "ns-1",
        "set",
        "east",
        "IPv4",
        "[{addresses: [10.250.3.1], hostname: a}, {addresses: [10.250.3.2]}]",
    ),
    ("ns-1", "web", "east", "IPv4", "[]"),
    ("ns-2", "db", "east", "IPv4", "[{addresses: [10.250.4.1]}]"),
    // Of no import.
    (
        "ns-2",
        "orphan",
        "east",
        "IPv4",
        "[{addresses: [10.250.5.1], hostname: a}]",
    ),
    (
        "ns-1",
        "gone",
        "east",
        "IPv4",
        "[{addresses: [10.250.6.1], hostname: a}]",
    ),
];

/// One that is deleted again.
pub const GONE: &str = "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\nmetadata: {name: gone, namespace: ns-1}\nspec: {type: Headless, ports: [{name: http, port: 80, protocol: TCP}]}\n";

/// Their manifests.
pub fn objects() -> String {
    let mut yaml = String::new();
    for (namespace, name, spec) in IMPORTS {
        let labels = if namespace == "ns-2" {
            "{team: even}"
        } else {
            "{}"
        };
        let spec = spec.replace("HTTP", HTTP);
        // A string has room for everything.
        let _ = write!(
            yaml,
            "---\napiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\nmetadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\nspec: {{{spec}}}\n"
        );
    }
    for (namespace, import, cluster, family, endpoints) in SLICES {
        let _ = write!(
            yaml,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: imported-{import}-{cluster}, namespace: {namespace}, labels: {{multicluster.kubernetes.io/service-name: {import}, multicluster.kubernetes.io/source-cluster: {cluster}, endpointslice.kubernetes.io/managed-by: mcs.example.com}}}}\naddressType: {family}\nports: [{{name: http, port: 80, protocol: TCP}}]\nendpoints: {endpoints}\n"
        );
    }
    yaml
}

/// Names in both domains, one a line; those of services of the cluster's own, too.
pub fn names() -> String {
    let mut names: Vec<String> = [
        "",
        "svc",
        "pod",
        "ns-1.svc",
        "ns-2.svc",
        "ns-99.svc",
        "dns-version",
        "dns",
        "s-1.ns-1.svc",
        "s-4.ns-1.svc",
        "_http._tcp.s-1.ns-1.svc",
        "s-9.ns-2.svc",
        "none.ns-1.svc",
        "web.ns-99.svc",
        "1-2-3-4.ns-1.pod",
        "ns-1.pod",
        "a.b.c.d.e.f.svc",
    ]
    .map(str::to_owned)
    .to_vec();
    for (namespace, name, _) in IMPORTS {
        names.extend(around(&format!("{name}.{namespace}.svc")));
    }
    names.extend(around("gone.ns-1.svc"));
    names.extend(around("orphan.ns-2.svc"));
    let mut lines = String::new();
    for domain in ["clusterset.local", "cluster.local"] {
        for name in &names {
            let dot = if name.is_empty() { "" } else { "." };
            // A string has room for everything.
            let _ = writeln!(lines, "{name}{dot}{domain}");
        }
    }
    for number in 1..9 {
        let _ = writeln!(
            lines,
            "{number}.0.97.10.in-addr.arpa\n1.{number}.250.10.in-addr.arpa"
        );
    }
    lines
}

fn around(own: &str) -> Vec<String> {
    let before = [
        "",
        "_http._tcp.",
        "_dns._udp.",
        "_tcp.",
        "a.east.",
        "a.west.",
        "b.west.",
        "b.east.",
        "notready.east.",
        "a.away.",
        "east.",
        "a.",
        "10-250-0-2.east.",
        "10-250-0-2.west.",
        "10-250-1-1.west.",
        "10-250-3-2.east.",
        "fd00-250--0.west.",
        "10-250-4-1.east.",
        "x.a.east.",
        "_http.east.",
        "a._tcp.",
    ];
    before.iter().map(|label| format!("{label}{own}")).collect()
}
