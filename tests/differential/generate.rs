//! Zones and queries from a seed.

use std::fmt::Write as _;

use hopzero::zone::Zone;
use hopzero_tests::packets::{
    build::{message_of, wire_name, with_opt},
    world,
};

/// Splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("64 bits");
        usize::try_from(self.next() % bound).expect("smaller than the bound")
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A zone of services of every kind, some of them with as many endpoints as just fit an answer.
pub fn zone(random: &mut Random) -> Zone {
    // One is spelt like a namespace; of five domains the last have no place for negative answers.
    let others: &[&str] = random.of(&[
        &[][..],
        &["clusterset.local."],
        &["other.example.", "ns.svc.cluster.local."],
        &[
            "clusterset.local.",
            "a.example.",
            "b.example.",
            "cluster.example.",
            "x.a.example.",
        ],
    ]);
    world::zone_with(&manifests(random), others)
}

/// The manifests of such a zone.
pub fn manifests(random: &mut Random) -> String {
    let mut yaml = String::from("apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n");
    // Names of all lengths: sizes meet their limits at every offset.
    let names: Vec<String> = (0..12)
        .map(|index| format!("s{index}{}", "x".repeat(random.below(60))))
        .collect();
    for (index, name) in names.iter().enumerate() {
        let (four, six) = (
            format!("10.96.{index}.{}", 1 + random.below(250)),
            format!("fd00:10:96::{index}:{:x}", 1 + random.below(65_000)),
        );
        let spec = match random.below(10) {
            0 => format!("clusterIP: {four}, clusterIPs: [{four}]"),
            1 => format!("clusterIP: '{six}', clusterIPs: ['{six}']"),
            2 => format!("clusterIP: {four}, clusterIPs: [{four}, '{six}']"),
            3..6 => format!(
                "type: ExternalName, externalName: {}",
                target(&names, random)
            ),
            _ => "clusterIP: None, clusterIPs: [None]".into(),
        };
        let headless = spec.contains("None");
        write!(
            yaml,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: ns}}\n\
             spec: {{{spec}, ports: [{{name: http, port: 80}}, {{name: dns, port: 53, protocol: UDP}}]}}\n"
        )
        .expect("a string");
        if headless {
            endpoints(&mut yaml, name, index, random);
        }
        if random.one_in(2) {
            import(&mut yaml, name, index, random);
        }
    }
    yaml
}

/// The same service, or another one of its name, in a set of clusters.
fn import(yaml: &mut String, service: &str, index: usize, random: &mut Random) {
    let spec = random.of(&[
        "type: Headless",
        "type: ClusterSetIP, ips: [10.97.0.1]",
        "type: ClusterSetIP, ips: ['fd00:97::1', 10.97.0.2]",
        "type: ClusterSetIP, ips: []",
    ]);
    write!(
        yaml,
        "---\napiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\n\
         metadata: {{name: {service}, namespace: ns}}\n\
         spec: {{{spec}, ports: [{{name: http, port: 80, protocol: TCP}}]}}\n"
    )
    .expect("a string");
    for cluster in ["east", "west"] {
        write!(
            yaml,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: i{index}-{cluster}, namespace: ns, labels: {{\
             multicluster.kubernetes.io/service-name: {service}, \
             multicluster.kubernetes.io/source-cluster: {cluster}}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints:\n"
        )
        .expect("a string");
        for endpoint in 0..random.of(&[1, 2, 14, 40]) {
            let address = format!(
                "10.{}.{}.{endpoint}",
                120 + index,
                cluster.len() + endpoint % 2
            );
            writeln!(yaml, "- {{addresses: [{address}], hostname: h{endpoint}}}")
                .expect("a string");
        }
    }
}

/// The target of an alias, mostly a name of the zone: a service of any kind, itself and other aliases among
/// them, or an endpoint, or what has no addresses, or is not there.
fn target(names: &[String], random: &mut Random) -> String {
    let service = format!("{}.ns.svc.cluster.local", names[random.below(names.len())]);
    match random.below(12) {
        0 => format!("h1.{service}"),
        1 => format!("h14.{service}."),
        2 => format!("_http._tcp.{service}"),
        3 => format!("x{service}"),
        4 => random
            .of(&[
                "ns.svc.cluster.local",
                "a.pod.cluster.local",
                "1.0.96.10.in-addr.arpa",
                "example.com",
            ])
            .into(),
        5 => service.to_uppercase(),
        _ => service,
    }
}

fn endpoints(yaml: &mut String, service: &str, index: usize, random: &mut Random) {
    let near = random.of(&[1, 2, 3, 14, 28, 40, 66, 75]);
    let count = near + random.below(6);
    for (family, prefix) in [
        ("IPv4", format!("10.{}.0.", 100 + index)),
        ("IPv6", format!("fd00:{index}::")),
    ] {
        write!(
            yaml,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: e{index}-{suffix}, namespace: ns, labels: {{kubernetes.io/service-name: {service}}}}}\n\
             addressType: {family}\nports: [{{name: http, port: 80}}]\nendpoints:\n",
            suffix = family.to_lowercase()
        )
        .expect("a string");
        for endpoint in 1..=count {
            writeln!(
                yaml,
                "- {{addresses: ['{prefix}{endpoint}'], hostname: h{endpoint}}}"
            )
            .expect("a string");
        }
    }
}

const TYPES: [u16; 14] = [1, 28, 12, 33, 16, 5, 6, 2, 15, 43, 252, 255, 65, 257];

/// A query, well-formed in most cases, for a name that is there in most cases.
pub fn query(names: &[String], random: &mut Random) -> Vec<u8> {
    let mut name = wire_name(&name(names, random));
    let mut at = 0;
    while name[at] != 0 {
        let end = at + 1 + usize::from(name[at]);
        for byte in &mut name[at + 1..end] {
            if random.one_in(3) {
                *byte = byte.to_ascii_uppercase();
            }
        }
        at = end;
    }
    let qtype = if random.one_in(4) {
        random.of(&TYPES)
    } else if name.ends_with(b"\x04arpa\0") {
        12
    } else {
        random.of(&[1, 28])
    };
    let mut message = message_of(&name, qtype);
    let id = random.next().to_le_bytes();
    message[..2].copy_from_slice(&id[..2]);
    // RD, and what is copied or ignored of the rest.
    message[2] = random.of(&[0, 1, 1, 4]);
    message[3] = random.of(&[0, 0, 0x10, 0x20, 0x80, 0x40, 0x0f]);
    if random.one_in(50) {
        *message.last_mut().expect("a class") = 3;
    }
    if random.one_in(3) {
        return message;
    }
    let near = 500 + u16::try_from(random.below(760)).expect("small");
    let size = random.of(&[0, 511, 512, 513, 1231, 1232, 1233, 4096, 65535, near, near]);
    // The last two are malformed.
    let options: &[&[u8]] = &[
        &[],
        &[],
        &[],
        &[],
        &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 12, 0, 3, 0, 0, 0],
        &[0, 3, 0, 0],
        &[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7],
        &[0, 8, 0, 9, 0],
    ];
    let mut message = with_opt(message, size, random.one_in(2), random.of(options));
    if random.one_in(100) {
        message.push(0);
    }
    message
}

fn name(names: &[String], random: &mut Random) -> String {
    let name = &names[random.below(names.len())];
    match random.below(24) {
        0 => format!("nobody.{name}"),
        1 => name.split_once('.').map_or("", |(_, parent)| parent).into(),
        2 => format!("_http._tcp.{name}"),
        3 => format!("x{name}").replace("local", "example"),
        _ => name.clone(),
    }
}
