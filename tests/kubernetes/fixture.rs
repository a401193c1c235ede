//! A cluster of every kind of service, and the names that are asked in it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hopzero_tests::client::reverse;

/// Namespaces; each has a service of every kind.
const NAMESPACES: u16 = 40;
/// Of the services in it.
const KINDS: u16 = 20;

/// Manifests for `kubectl apply`, and names.
#[derive(Default)]
pub struct Fixture {
    /// Namespaces, services, slices, pods.
    pub objects: String,
    /// The same pods with their status.
    pub statuses: String,
    names: BTreeSet<String>,
}

impl Fixture {
    pub fn new() -> Self {
        let mut fixture = Fixture::default();
        for index in 0..NAMESPACES {
            let namespace = match index {
                // The longest that there is.
                0 => format!("n{}", "x".repeat(62)),
                _ => format!("ns-{index}"),
            };
            let labels = if index.is_multiple_of(2) {
                "{team: even}"
            } else {
                "{team: odd}"
            };
            fixture.object(&format!(
                "kind: Namespace\napiVersion: v1\nmetadata: {{name: {namespace}, labels: {labels}}}\n"
            ));
            fixture.name(&format!("{namespace}.svc"));
            for kind in 0..KINDS {
                fixture.service(&namespace, index, kind);
            }
        }
        for name in [
            "",
            "svc",
            "dns-version",
            "kubernetes.default.svc",
            "dns.default",
            "pod",
            "nothing",
            "ns.dns",
        ] {
            fixture.name(name);
        }
        fixture
    }

    /// All names, one a line.
    pub fn names(&self) -> String {
        self.names.iter().fold(String::new(), |mut lines, name| {
            lines += name;
            lines.push('\n');
            lines
        })
    }

    fn object(&mut self, yaml: &str) {
        self.objects += "---\n";
        self.objects += yaml;
    }

    /// A name of the cluster, and what a search list makes of it.
    fn name(&mut self, name: &str) {
        let full = if name.is_empty() {
            "cluster.local".to_owned()
        } else {
            format!("{name}.cluster.local")
        };
        self.names.insert(full);
    }

    fn address(&mut self, address: IpAddr) {
        self.names.insert(reverse(address));
    }

    fn service(&mut self, namespace: &str, index: u16, kind: u16) {
        let name = match kind {
            12 => format!("s{}", "y".repeat(62)),
            _ => format!("s-{kind}"),
        };
        let [high, low] = (index * KINDS + kind + 1).to_be_bytes();
        let v4 = IpAddr::V4(Ipv4Addr::new(10, 96, 100 + high, low));
        let v6: IpAddr = Ipv6Addr::new(
            0xfd00,
            0x10,
            0x96,
            0,
            0,
            0,
            0,
            0x1000 + index * KINDS + kind,
        )
        .into();
        let http = "ports: [{name: http, port: 80}]";
        let spec = match kind {
            1 => format!(
                "clusterIP: {v4}, clusterIPs: [{v4}, '{v6}'], ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4, IPv6], ports: [{{name: http, port: 80}}, {{name: dns, port: 53, protocol: UDP}}]"
            ),
            2 => format!(
                "clusterIP: '{v6}', ipFamilyPolicy: SingleStack, ipFamilies: [IPv6], {http}"
            ),
            3 => format!("clusterIP: None, selector: {{app: pods}}, {http}"),
            4..=8 | 17 => format!(
                "clusterIP: None, publishNotReadyAddresses: {}, {http}",
                kind == 7
            ),
            9 => "type: ExternalName, externalName: www.example.com".to_owned(),
            10 => format!("type: ExternalName, externalName: s-1.{namespace}.svc.cluster.local"),
            11 => format!("type: ExternalName, externalName: s-11.{namespace}.svc.cluster.local"),
            13 => format!("clusterIP: {v4}, ports: [{{port: 8080}}]"),
            14 => format!("type: NodePort, clusterIP: {v4}, {http}"),
            15 => format!("type: LoadBalancer, clusterIP: {v4}, {http}"),
            16 => format!(
                "clusterIP: {v4}, ports: [{{name: sctp, port: 9, protocol: SCTP}}, {{name: same, port: 9}}]"
            ),
            _ => format!("clusterIP: {v4}, {http}"),
        };
        let labels = if kind.is_multiple_of(2) {
            "{tier: front}"
        } else {
            "{tier: back}"
        };
        self.object(&format!(
            "kind: Service\napiVersion: v1\nmetadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\nspec: {{{spec}}}\n"
        ));
        let own = format!("{name}.{namespace}.svc");
        self.name(&own);
        for port in ["_http._tcp", "_dns._udp", "_tcp", "_sctp._sctp"] {
            self.name(&format!("{port}.{own}"));
        }
        // As a search list of the namespace makes it.
        self.name(&format!("{own}.cluster.local.{namespace}.svc"));
        self.address(v4);
        self.address(v6);
        self.endpoints(namespace, &name, index, kind);
    }

    /// What stands behind it.
    fn endpoints(&mut self, namespace: &str, name: &str, index: u16, kind: u16) {
        let own = format!("{name}.{namespace}.svc");
        let endpoint = |number: u16| {
            IpAddr::V4(Ipv4Addr::new(
                10,
                244,
                u8::try_from(index).unwrap_or(0),
                u8::try_from(kind * 10 + number).unwrap_or(0),
            ))
        };
        let endpoint_v6 = |number: u16| -> IpAddr {
            Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, index, kind, 0, number).into()
        };
        let mut slice = Slice::new(namespace, name);
        match kind {
            3 if index < 4 => self.pods(namespace, name, index),
            4 | 19 => {
                slice
                    .add(&format!("a-{kind}"), endpoint(1), true)
                    .add("b", endpoint(2), true);
                slice
                    .add("", endpoint(3), true)
                    .add("notready", endpoint(4), false);
            }
            5 => {
                slice
                    .add("", endpoint_v6(1), true)
                    .add("six", endpoint_v6(2), true);
            }
            6 => {
                slice
                    .add("", endpoint(1), false)
                    .add("x", endpoint(2), false);
            }
            7 => {
                slice.add("", endpoint(1), true).add("x", endpoint(2), true);
            }
            17 => {
                slice.add("", endpoint(1), true).add("", endpoint(2), true);
                let mut second = Slice::new(namespace, name);
                second.number = 2;
                second.add("", endpoint(2), true).add("", endpoint(3), true);
                self.slice(&second, &own);
            }
            18 => {
                let (first, second) = (endpoint(1), endpoint(2));
                self.object(&format!(
                    "kind: Endpoints\napiVersion: v1\nmetadata: {{name: {name}, namespace: {namespace}}}\nsubsets: [{{addresses: [{{ip: {first}, hostname: mirrored}}, {{ip: {second}}}], ports: [{{name: http, port: 80}}]}}]\n"
                ));
                self.name(&format!("mirrored.{own}"));
                self.address(first);
                self.address(second);
            }
            _ => {}
        }
        if !slice.endpoints.is_empty() {
            self.slice(&slice, &own);
        }
    }

    fn slice(&mut self, slice: &Slice, own: &str) {
        let Slice {
            namespace,
            service,
            number,
            endpoints,
        } = slice;
        let family = if endpoints[0].1.is_ipv4() {
            "IPv4"
        } else {
            "IPv6"
        };
        let mut yaml = format!(
            "kind: EndpointSlice\napiVersion: discovery.k8s.io/v1\nmetadata: {{name: {}-{number}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: {family}\nports: [{{name: http, port: 80, protocol: TCP}}]\nendpoints:\n",
            &service[..service.len().min(50)]
        );
        for (hostname, address, ready) in endpoints {
            let hostname_field = if hostname.is_empty() {
                String::new()
            } else {
                self.name(&format!("{hostname}.{own}"));
                format!(", hostname: {hostname}")
            };
            let _ = writeln!(
                yaml,
                "- {{addresses: ['{address}'], conditions: {{ready: {ready}}}{hostname_field}}}"
            );
            self.name(&format!(
                "{}.{own}",
                address.to_string().replace(['.', ':'], "-")
            ));
            self.address(*address);
        }
        self.object(&yaml);
    }

    /// Pods that the controllers make slices of, once they have addresses.
    fn pods(&mut self, namespace: &str, service: &str, index: u16) {
        for number in 0..3 {
            let address = Ipv4Addr::new(10, 245, u8::try_from(index).unwrap_or(0), number + 1);
            let own = format!("{service}.{namespace}.svc");
            let name = format!("pod-{number}");
            let head = format!(
                "kind: Pod\napiVersion: v1\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: pods}}}}\n"
            );
            self.object(&format!(
                "{head}spec: {{hostname: {name}, subdomain: {service}, nodeName: node-0, containers: [{{name: c, image: none, ports: [{{name: http, containerPort: 80}}]}}]}}\n"
            ));
            // The last one is not ready.
            let ready = if number < 2 { "True" } else { "False" };
            let _ = write!(
                self.statuses,
                "---\n{head}status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}], conditions: [{{type: Ready, status: '{ready}'}}]}}\n"
            );
            self.name(&format!("{name}.{own}"));
            self.name(&format!(
                "{}.{namespace}.pod",
                address.to_string().replace('.', "-")
            ));
            self.address(address.into());
        }
        self.name(&format!("1-2-3-4.{namespace}.pod"));
        self.name(&format!("{namespace}.pod"));
    }
}

struct Slice {
    namespace: String,
    service: String,
    number: u8,
    endpoints: Vec<(String, IpAddr, bool)>,
}

impl Slice {
    fn new(namespace: &str, service: &str) -> Self {
        Slice {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            number: 1,
            endpoints: Vec::new(),
        }
    }

    fn add(&mut self, hostname: &str, address: IpAddr, ready: bool) -> &mut Self {
        self.endpoints.push((hostname.to_owned(), address, ready));
        self
    }
}
