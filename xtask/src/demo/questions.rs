//! What the demo asks, and what must come back: the shop in `tests/manifests/shop`.

use std::net::IpAddr;

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// A name, or an address for a PTR.
    pub name: &'static str,
    /// The type.
    pub rtype: &'static str,
    /// How it is asked.
    pub over: Over,
    /// What must come back.
    pub expected: Expected,
    /// Who must answer.
    pub by: By,
}

/// How a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// dig, over IPv4.
    Ipv4,
    /// dig, over IPv4, without an OPT record.
    Ipv4Plain,
    /// dig, over IPv6.
    Ipv6,
    /// dig, over IPv6, without an OPT record.
    Ipv6Plain,
    /// The C library's resolver, as any program in a pod has it.
    Libc,
}

impl Over {
    /// Whether dig asks over IPv6.
    pub fn is_ipv6(self) -> bool {
        matches!(self, Self::Ipv6 | Self::Ipv6Plain)
    }

    /// Whether there is an OPT record in the query.
    pub fn has_edns(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Ipv6)
    }

    /// For the table.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv4Plain => "IPv4, no EDNS",
            Self::Ipv6 => "IPv6",
            Self::Ipv6Plain => "IPv6, no EDNS",
            Self::Libc => "getent",
        }
    }
}

/// What must come back.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// These records, in any order: the answers are rotated.
    Records(&'static [&'static str]),
    /// The name exists, without records of this type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Not our zone.
    Refused,
}

/// Who must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The eBPF program.
    Kernel,
    /// The socket server.
    Socket,
    /// A resolver that asks several questions: the kernel must have answered some of them.
    Some,
    /// The eBPF program where the hook can grow a packet by so much, else the socket.
    Either,
}

use By::{Either, Kernel, Socket, Some as InPart};
use Expected::{NoData, NxDomain, Records, Refused};
use Over::{Ipv4, Ipv4Plain, Ipv6, Ipv6Plain, Libc};

/// Question, type, how, expected, by whom.
type Row = (&'static str, &'static str, Over, Expected, By);

const CHECKOUT: &str = "checkout.shop.svc.cluster.local";
const DB: &str = "db.data.svc.cluster.local";
const DB_IPV4: Expected = Records(&["10.244.1.10", "10.244.2.10", "10.244.3.10"]);
const DB_IPV6: Expected = Records(&[
    "fd00:10:244:1::10",
    "fd00:10:244:2::10",
    "fd00:10:244:3::10",
]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // As a program in a pod asks: short names, both families, and the way back.
    ("checkout", "ahosts", Libc, Records(&["10.96.20.20", "fd00:10:96::2020"]), InPart),
    ("db.data", "ahosts", Libc, Records(&["10.244.1.10", "10.244.2.10", "10.244.3.10",
        "fd00:10:244:1::10", "fd00:10:244:2::10", "fd00:10:244:3::10"]), InPart),
    ("10.96.20.20", "hosts", Libc, Records(&["checkout.shop.svc.cluster.local"]), InPart),
    // A ClusterIP service, in every way that a query can come.
    (CHECKOUT, "A", Ipv4, Records(&["10.96.20.20"]), Kernel),
    (CHECKOUT, "A", Ipv4Plain, Records(&["10.96.20.20"]), Kernel),
    (CHECKOUT, "A", Ipv6, Records(&["10.96.20.20"]), Kernel),
    (CHECKOUT, "A", Ipv6Plain, Records(&["10.96.20.20"]), Kernel),
    (CHECKOUT, "AAAA", Ipv4, Records(&["fd00:10:96::2020"]), Kernel),
    (CHECKOUT, "AAAA", Ipv6Plain, Records(&["fd00:10:96::2020"]), Kernel),
    ("ChEcKoUt.sHoP.sVc.ClUsTeR.lOcAl", "A", Ipv4, Records(&["10.96.20.20"]), Kernel),
    ("10.96.20.20", "PTR", Ipv4, Records(&["checkout.shop.svc.cluster.local."]), Kernel),
    ("fd00:10:96::2020", "PTR", Ipv6, Records(&["checkout.shop.svc.cluster.local."]), Kernel),
    ("kube-dns.kube-system.svc.cluster.local", "A", Ipv4Plain, Records(&["10.96.0.10"]), Kernel),
    // A headless service, and the pods of its StatefulSet.
    (DB, "A", Ipv4, DB_IPV4, Kernel),
    (DB, "AAAA", Ipv6, DB_IPV6, Kernel),
    ("db-0.db.data.svc.cluster.local", "A", Ipv4, Records(&["10.244.1.10"]), Kernel),
    ("db-1.db.data.svc.cluster.local", "AAAA", Ipv6Plain, Records(&["fd00:10:244:2::10"]), Kernel),
    ("10.244.1.10", "PTR", Ipv4, Records(&["db-0.db.data.svc.cluster.local."]), Kernel),
    ("fd00:10:244:3::10", "PTR", Ipv4, Records(&["db-2.db.data.svc.cluster.local."]), Kernel),
    ("10-244-1-21.cache.data.svc.cluster.local", "A", Ipv6, Records(&["10.244.1.21"]), Kernel),
    // Services and text. The weight of an SRV record is 100 divided by the number of addresses
    // behind it, as CoreDNS has it.
    ("_grpc._tcp.checkout.shop.svc.cluster.local", "SRV", Ipv4,
        Records(&["0 50 9000 checkout.shop.svc.cluster.local."]), Kernel),
    // Generic XDP cannot grow a packet by so much, and passes it.
    ("_postgres._tcp.db.data.svc.cluster.local", "SRV", Ipv6, Records(&[
        "0 16 5432 db-0.db.data.svc.cluster.local.",
        "0 16 5432 db-1.db.data.svc.cluster.local.",
        "0 16 5432 db-2.db.data.svc.cluster.local."]), Either),
    ("dns-version.cluster.local", "TXT", Ipv4, Records(&["\"1.1.0\""]), Kernel),
    // What does not exist: a type of a name, an empty name, a name, a search-path expansion.
    ("search.shop.svc.cluster.local", "AAAA", Ipv4, NoData, Kernel),
    ("shop.svc.cluster.local", "A", Ipv6, NoData, Kernel),
    ("db-3.db.data.svc.cluster.local", "A", Ipv4, NxDomain, Kernel),
    ("checkout.shop.svc.cluster.local.svc.cluster.local", "A", Ipv4Plain, NxDomain, Kernel),
    // What the kernel passes to the socket.
    ("payments.shop.svc.cluster.local", "A", Ipv4, Records(&["api.payments.example.com."]), Socket),
    ("10.96.20.200", "PTR", Ipv4, NxDomain, Socket),
    ("example.com", "A", Ipv4, Refused, Socket),
];

/// What is asked.
pub fn all() -> Vec<Question> {
    ROWS.iter()
        .map(|&(name, rtype, over, expected, by)| Question {
            name,
            rtype,
            over,
            expected,
            by,
        })
        .collect()
}

/// The question whose latency is drawn.
pub fn to_compare() -> Question {
    Question {
        name: CHECKOUT,
        rtype: "A",
        over: Ipv4,
        expected: Records(&["10.96.20.20"]),
        by: Kernel,
    }
}

impl Question {
    /// The name in the query: an address becomes its name in the reverse zone.
    pub fn owner(&self) -> String {
        match self.name.parse::<IpAddr>() {
            Ok(address) => reverse(address),
            Err(_) => self.name.to_owned(),
        }
    }
}

/// The name of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev();
            let mut labels: Vec<String> = nibbles
                .map(|byte| format!("{:x}.{:x}", byte & 15, byte >> 4))
                .collect();
            labels.push("ip6.arpa".to_owned());
            labels.join(".")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_name() {
        let names: Vec<String> = ["10.96.0.10", "2001:db8::1"]
            .iter()
            .map(|address| reverse(address.parse().unwrap()))
            .collect();
        assert_eq!(names[0], "10.0.96.10.in-addr.arpa");
        assert_eq!(
            names[1],
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }

    #[test]
    fn the_kernel_answers_every_kind_it_must() {
        let by_kernel: Vec<Question> = all().into_iter().filter(|q| q.by == Kernel).collect();
        for rtype in ["A", "AAAA", "PTR"] {
            for over in [Ipv4, Ipv6] {
                let asked = |q: &&Question| q.rtype == rtype && q.over.is_ipv6() == over.is_ipv6();
                assert!(by_kernel.iter().any(|q| asked(&q)), "{rtype} {over:?}");
            }
        }
    }
}
