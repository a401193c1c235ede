//! Kubernetes objects cut down to what DNS answers from.
//!
//! It is a few dozen bytes a service and some 40 bytes an endpoint, because a node of a cluster with
//! 100,000 endpoints holds all of them.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hickory_proto::rr::Name;

use crate::source::objects;

/// Length of the longest label (RFC 1035 section 2.3.4), bytes.
const LABEL_BYTES_MAX: usize = 63;

/// The label that names a slice's service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label that names the imported service of a slice.
pub const IMPORT_NAME_LABEL: &str = "multicluster.kubernetes.io/service-name";
/// The label that says from which cluster such a slice is.
const SOURCE_CLUSTER_LABEL: &str = "multicluster.kubernetes.io/source-cluster";

/// A transport protocol: the second label of an SRV name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `_tcp`
    Tcp,
    /// `_udp`
    Udp,
    /// `_sctp`
    Sctp,
}

impl Protocol {
    /// Every protocol that a Kubernetes port may have.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The label in an SRV owner name, RFC 2782.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "_tcp",
            Self::Udp => "_udp",
            Self::Sctp => "_sctp",
        }
    }

    /// The protocol of a Kubernetes port; absent means TCP.
    fn from_kubernetes(protocol: Option<&str>) -> Option<Self> {
        match protocol {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

/// A port of a service or of a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Lower case; without a name there is no `_port._proto` name.
    pub name: Option<Box<str>>,
    /// The protocol.
    pub protocol: Protocol,
    /// The number in the SRV record.
    pub number: u16,
}

impl Port {
    /// Those of a service that have a record, sorted.
    fn all_of(ports: Option<&[objects::ServicePort]>) -> Box<[Self]> {
        let ports = ports.unwrap_or_default().iter();
        sorted(ports.filter_map(|port| {
            Self::new(port.name.as_deref(), port.protocol.as_deref(), port.port)
        }))
    }

    fn new(name: Option<&str>, protocol: Option<&str>, number: i32) -> Option<Self> {
        // The owner's label is the name behind an underscore.
        let name = name
            .filter(|name| is_label(&name.to_ascii_lowercase()) && name.len() < LABEL_BYTES_MAX)
            .map(|name| name.to_ascii_lowercase().into_boxed_str());
        Some(Self {
            name,
            protocol: Protocol::from_kubernetes(protocol)?,
            number: u16::try_from(number).ok().filter(|&number| number != 0)?,
        })
    }
}

/// What DNS needs of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// It has addresses of its own.
    ClusterIp {
        /// Of both families, sorted. Only an imported service may be without: it exists, and has no records.
        addresses: Box<[IpAddr]>,
        /// Sorted, without duplicates.
        ports: Box<[Port]>,
    },
    /// Its endpoints are its addresses; ports are those of the slices.
    Headless,
    /// An alias for a name, which is valid and not an address.
    ExternalName(Box<str>),
}

impl Service {
    /// `None` is a Service that DNS has nothing to say about: no address has been assigned yet,
    /// or its name cannot be a label.
    pub fn from_kubernetes(service: &objects::Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec.external_name.as_deref()?;
            // CoreDNS does not make an A record of an address here either.
            let alias = !target.is_empty()
                && target.parse::<IpAddr>().is_err()
                && Name::from_ascii(target).is_ok_and(|name| !name.is_root());
            return alias.then(|| Self::ExternalName(target.into()));
        }
        let mut given: Vec<&str> = spec
            .cluster_ips
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        if given.is_empty() {
            given.extend(spec.cluster_ip.as_deref());
        }
        if given.first() == Some(&"None") {
            return Some(Self::Headless);
        }
        let addresses = sorted(given.into_iter().filter_map(parse_address));
        if addresses.is_empty() {
            return None;
        }
        let ports = Port::all_of(spec.ports.as_deref());
        Some(Self::ClusterIp { addresses, ports })
    }

    /// `None` is a `ServiceImport` that does not exist, as in `CoreDNS`: without ports, it is not one yet.
    pub fn from_import(import: &objects::ServiceImport) -> Option<Self> {
        let spec = import.spec.as_ref()?;
        if spec.type_.as_deref() == Some("Headless") {
            return Some(Self::Headless);
        }
        let ports = Port::all_of(spec.ports.as_deref());
        let addresses = spec.ips.iter().flatten();
        let addresses = sorted(addresses.filter_map(|address| parse_address(address)));
        (!ports.is_empty()).then_some(Self::ClusterIp { addresses, ports })
    }
}

/// What an endpoint is called below its service: `<label>`, or `<label>.<cluster>` if it is one of another cluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host<'n> {
    /// Where it is.
    pub cluster: Option<&'n str>,
    /// Its own label.
    pub label: &'n str,
}

/// The ready endpoints of an `EndpointSlice`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The cluster that the endpoints are called after. None of a slice of this one's own services.
    pub cluster: Option<Box<str>>,
    /// Endpoints with a host name, sorted by it.
    named: Box<[(Box<str>, IpAddr)]>,
    /// Endpoints without: their name is made of their address. Sorted.
    unnamed: Box<[IpAddr]>,
    /// Sorted, without duplicates.
    pub ports: Box<[Port]>,
}

impl Slice {
    /// Keeps what is ready (`conditions.ready` true or absent).
    pub fn from_kubernetes(slice: &objects::EndpointSlice) -> Self {
        let mut named = Vec::new();
        let mut unnamed = Vec::new();
        for endpoint in &slice.endpoints {
            let conditions = endpoint.conditions.as_ref();
            if conditions.and_then(|conditions| conditions.ready) == Some(false) {
                continue;
            }
            let host = endpoint.hostname.as_deref().map(str::to_ascii_lowercase);
            let host = host.as_deref().filter(|host| is_label(host));
            for address in endpoint.addresses.iter().filter_map(|a| parse_address(a)) {
                match host {
                    // A host name that spells its address would be in both lists.
                    Some(host) if *host != *address_label(address) => {
                        named.push((host.into(), address));
                    }
                    _ => unnamed.push(address),
                }
            }
        }
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            Port::new(port.name.as_deref(), port.protocol.as_deref(), port.port?)
        });
        Self {
            cluster: None,
            named: sorted(named),
            unnamed: sorted(unnamed),
            ports: sorted(ports),
        }
    }

    /// The same of an imported service. A cluster that cannot be a label has no endpoints that could be named.
    pub fn from_imported(slice: &objects::EndpointSlice) -> Self {
        let labels = slice.metadata.labels.as_ref();
        let cluster = labels.and_then(|labels| labels.get(SOURCE_CLUSTER_LABEL));
        let cluster = cluster.filter(|cluster| !cluster.is_empty());
        let cluster = cluster.map(|cluster| cluster.to_ascii_lowercase());
        match cluster {
            Some(cluster) if !is_label(&cluster) => Self::default(),
            cluster => Self {
                cluster: cluster.map(String::into_boxed_str),
                ..Self::from_kubernetes(slice)
            },
        }
    }

    /// Whether no endpoint is ready.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.unnamed.is_empty()
    }

    /// How many addresses of endpoints it has.
    pub fn len(&self) -> usize {
        self.named.len() + self.unnamed.len()
    }

    /// Every endpoint's host label and address.
    pub fn endpoints(&self) -> impl Iterator<Item = (Cow<'_, str>, IpAddr)> {
        let named = self
            .named
            .iter()
            .map(|(host, address)| (Cow::Borrowed(&**host), *address));
        let unnamed = self
            .unnamed
            .iter()
            .map(|&address| (Cow::Owned(address_label(address)), address));
        named.chain(unnamed)
    }

    /// Every endpoint's address; one that two endpoints share comes twice.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let named = self.named.iter().map(|&(_, address)| address);
        named.chain(self.unnamed.iter().copied())
    }

    /// The addresses of one host, found by halving: a node per endpoint must not cost a pass over
    /// all endpoints each.
    pub fn addresses_of(&self, host: &str) -> impl Iterator<Item = IpAddr> {
        let start = self.named.partition_point(|(name, _)| **name < *host);
        let named = self.named[start..]
            .iter()
            .take_while(move |(name, _)| **name == *host)
            .map(|&(_, address)| address);
        let unnamed =
            label_address(host).filter(|address| self.unnamed.binary_search(address).is_ok());
        named.chain(unnamed)
    }

    /// The host labels that one address has.
    pub fn hosts_of(&self, address: IpAddr) -> impl Iterator<Item = Cow<'_, str>> {
        let named = self
            .named
            .iter()
            .filter(move |&&(_, at)| at == address)
            .map(|(host, _)| Cow::Borrowed(&**host));
        let unnamed = self.unnamed.binary_search(&address).is_ok();
        named.chain(unnamed.then(|| Cow::Owned(address_label(address))))
    }
}

/// Whether `text` is a lower-case DNS label as Kubernetes means it (RFC 1123 section 2.1). Other
/// text is never a name: an underscore would collide with the port names.
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    !bytes.is_empty()
        && bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(inner)
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// The name of an endpoint that has no host name: its address with dashes, as `CoreDNS` has it. No
/// label may end in a dash, so `fd00::` becomes `fd00--0`.
pub fn address_label(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string().replace('.', "-"),
        IpAddr::V6(address) => {
            let mut label = address.to_string().replace([':', '.'], "-");
            if label.ends_with('-') {
                label.push('0');
            }
            label
        }
    }
}

/// The inverse of [`address_label`].
fn label_address(label: &str) -> Option<IpAddr> {
    let v4 = || label.replace('-', ".").parse::<Ipv4Addr>().ok();
    let v6 = || label.replace('-', ":").parse::<Ipv6Addr>().ok();
    let address = v4().map(IpAddr::from).or_else(|| v6().map(IpAddr::from))?;
    (address_label(address) == label).then_some(address)
}

fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Box<[T]> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort_unstable();
    items.dedup();
    items.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_label_leads_back_to_its_address() {
        for (address, label) in [
            ("10.1.2.3", "10-1-2-3"),
            ("fd00::1", "fd00--1"),
            ("fd00::", "fd00--0"),
            ("::1", "--1"),
            ("1:2:3:4:5:6:7:8", "1-2-3-4-5-6-7-8"),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(address_label(address), label);
            assert_eq!(label_address(label), Some(address));
        }
        for label in ["10-1-2", "010-1-2-3", "web", "fd00--", "fd00-0-0-0-0-0-0-1"] {
            assert_eq!(label_address(label), None, "{label}");
        }
    }

    #[test]
    fn labels_are_those_of_kubernetes() {
        let longest = "a".repeat(63);
        for label in ["a", "web-0", "0", &longest] {
            assert!(is_label(label), "{label}");
        }
        let longer = "a".repeat(64);
        for text in ["", "-a", "a-", "a.b", "_tcp", "Web", "a b", "é", &longer] {
            assert!(!is_label(text), "{text}");
        }
    }
}
