//! Making the records of one name and one type.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, NS, PTR, SOA, SRV, TXT},
};

use super::{
    RrSet, Zone,
    authority::DNS_SERVICE,
    names::below,
    question::{ServiceName, Subject},
    reverse::Prefix,
};
use crate::state::{Port, Protocol, Service, ServiceView};

/// The version of the DNS specification for Kubernetes that the names follow.
const SCHEMA_VERSION: &str = "1.1.0";

/// TTL of the version, seconds: it changes with the software only. As in the specification's
/// example, and as `CoreDNS` has it.
const VERSION_TTL_SECONDS: u32 = 28_800;

const SOA_REFRESH_SECONDS: i32 = 7200;
const SOA_RETRY_SECONDS: i32 = 1800;
const SOA_EXPIRE_SECONDS: i32 = 86_400;

/// The types that the zone makes, in the order in which a node lists them. ANY is answered with
/// the first that is there (RFC 8482 section 4.1).
pub const TYPES: [RecordType; 7] = [
    RecordType::SOA,
    RecordType::NS,
    RecordType::A,
    RecordType::AAAA,
    RecordType::PTR,
    RecordType::TXT,
    RecordType::SRV,
];

impl Zone {
    /// The records of one type at a name that exists and is no alias. `zone` is spelt as the
    /// records are to spell it.
    pub(super) fn rrset(
        &self,
        zone: &Name,
        subject: Subject<'_>,
        rtype: RecordType,
    ) -> Option<RrSet> {
        let mut additionals = Vec::new();
        let mut ttl = self.config.ttl;
        let rdata = match (subject, rtype) {
            (Subject::Apex, RecordType::SOA) => vec![self.soa_rdata(zone)],
            (Subject::Apex, RecordType::NS) => {
                let (server, addresses) = self.name_server(zone)?;
                additionals = self.address_records(&server, &addresses);
                vec![RData::NS(NS(server))]
            }
            (Subject::Apex, RecordType::PTR) => {
                self.pointers(Prefix::of_name(&zone.to_lowercase())?.address()?)
            }
            (Subject::Address(address), RecordType::PTR) => self.pointers(address),
            (Subject::Version, RecordType::TXT) => {
                ttl = VERSION_TTL_SECONDS;
                vec![RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]))]
            }
            (Subject::NameServer, RecordType::A | RecordType::AAAA) => {
                addresses_of_type(&self.name_server(zone)?.1, rtype)
            }
            (Subject::Service(name), RecordType::A | RecordType::AAAA) => {
                addresses_of_type(&self.view(name)?.addresses(), rtype)
            }
            (Subject::Pod(_, address), RecordType::A | RecordType::AAAA) => {
                addresses_of_type(&BTreeSet::from([address]), rtype)
            }
            (Subject::Endpoint(name, host), RecordType::A | RecordType::AAAA) => {
                addresses_of_type(&self.view(name)?.endpoint(host), rtype)
            }
            (Subject::Service(name), RecordType::SRV) => {
                return self.services(zone, name, &|_| true);
            }
            (Subject::Port(name, protocol, port), RecordType::SRV) => {
                let wanted = |candidate: &Port| is_named(candidate, protocol, port);
                return self.services(zone, name, &wanted);
            }
            _ => return None,
        };
        (!rdata.is_empty()).then_some(RrSet {
            rtype,
            ttl,
            rdata,
            additionals,
        })
    }

    /// The SOA record of a zone, for negative answers (RFC 2308 section 3).
    pub(super) fn soa_record(&self, zone: &Name) -> Record {
        // Its TTL is min(TTL, minimum), which are the same.
        // Only the owner is spelt as the question spells it: the kernel copies the data as it is.
        Record::from_rdata(
            zone.clone(),
            self.config.ttl,
            self.soa_rdata(&zone.to_lowercase()),
        )
    }

    pub(super) fn view(&self, name: ServiceName<'_>) -> Option<ServiceView<'_>> {
        let state = self.state_of(name.is_imported);
        state.service(name.namespace, name.service)
    }

    fn soa_rdata(&self, zone: &Name) -> RData {
        let in_zone = |labels: &[&str]| {
            let name = labels.iter().try_fold(Name::new(), |name, label| {
                name.append_label(label.as_bytes()).ok()
            });
            // A zone so long that no name fits below it has no contents to be authoritative of.
            name.and_then(|name| name.append_domain(zone).ok())
                .unwrap_or_else(|| zone.clone())
        };
        RData::SOA(SOA::new(
            in_zone(&["ns", "dns"]),
            in_zone(&["hostmaster"]),
            self.serial,
            SOA_REFRESH_SECONDS,
            SOA_RETRY_SECONDS,
            SOA_EXPIRE_SECONDS,
            self.config.ttl,
        ))
    }

    /// The service that fronts DNS in every cluster; without it the SOA's primary, which has no
    /// address then.
    fn name_server(&self, zone: &Name) -> Option<(Name, BTreeSet<IpAddr>)> {
        let domain = self.domain_for(zone);
        let (namespace, service) = DNS_SERVICE;
        let view = self.state.service(namespace, service);
        let addresses = view.map(|view| view.addresses()).unwrap_or_default();
        // Which is no imported one, so there is no such name among those.
        let server = if addresses.is_empty() || self.config.is_imported(&domain) {
            below(&domain, &["ns", "dns"])?
        } else {
            below(&domain, &[service, namespace, "svc"])?
        };
        Some((server, addresses))
    }

    /// The domain whose names are the targets of records in a zone, in lower case.
    fn domain_for(&self, zone: &Name) -> Name {
        let mut others = self.config.others.iter();
        let found = others.find(|other| *other == zone);
        found.unwrap_or(&self.config.origin).clone()
    }

    /// The service whose cluster IP it is; else each service that has it as an endpoint.
    fn pointers(&self, address: IpAddr) -> Vec<RData> {
        let owners = self.state.addresses().owners(address);
        if let Some(owner) = owners.first().filter(|owner| owner.slice.is_none()) {
            let name = self.config.service(&owner.namespace, &owner.service);
            return name.into_iter().map(|name| RData::PTR(PTR(name))).collect();
        }
        let mut names = BTreeSet::new();
        for owner in owners {
            let (namespace, service) = (&*owner.namespace, &*owner.service);
            let slice = owner
                .slice
                .as_deref()
                .and_then(|slice| self.state.slice(namespace, service, slice));
            for host in slice.into_iter().flat_map(|slice| slice.hosts_of(address)) {
                names.extend(self.config.name(&[&host, service, namespace, "svc"]));
            }
        }
        names
            .into_iter()
            .map(|name| RData::PTR(PTR(name)))
            .collect()
    }

    /// SRV records for the ports that `wanted` picks.
    fn services(
        &self,
        zone: &Name,
        name: ServiceName<'_>,
        wanted: &dyn Fn(&Port) -> bool,
    ) -> Option<RrSet> {
        let view = self.view(name)?;
        let labels = [name.service, name.namespace, "svc"];
        let own = below(&self.domain_for(zone), &labels)?;
        let (targets, additionals, count): (Vec<(Name, u16)>, _, _) = match view.service {
            Service::ClusterIp { addresses, ports } => {
                let ports: Vec<&Port> = ports.iter().filter(|port| wanted(port)).collect();
                let count = ports.len() * addresses.len();
                let reachable = ports.iter().filter(|_| count > 0);
                let numbers: BTreeSet<u16> = reachable.map(|port| port.number).collect();
                let targets = numbers
                    .into_iter()
                    .map(|port| (own.clone(), port))
                    .collect();
                let addresses = addresses.iter().copied().collect();
                (targets, self.address_records(&own, &addresses), count)
            }
            Service::Headless => self.endpoint_targets(&own, view, wanted),
            Service::ExternalName(_) => return None,
        };
        let weight = weight(count);
        let rdata: Vec<RData> = targets
            .into_iter()
            .map(|(target, port)| RData::SRV(SRV::new(0, weight, port, target)))
            .collect();
        (!rdata.is_empty()).then_some(RrSet {
            rtype: RecordType::SRV,
            ttl: self.config.ttl,
            rdata,
            additionals,
        })
    }

    /// The targets of a headless service by host and port, the addresses of the hosts, and how
    /// many pairs of address and port there are.
    fn endpoint_targets(
        &self,
        own: &Name,
        view: ServiceView<'_>,
        wanted: &dyn Fn(&Port) -> bool,
    ) -> (Vec<(Name, u16)>, Vec<Record>, usize) {
        let mut pairs = BTreeSet::new();
        let mut targets: BTreeSet<(Label<'_>, u16)> = BTreeSet::new();
        for slice in view.slices() {
            let cluster = slice.cluster.as_deref();
            for port in slice.ports.iter().filter(|port| wanted(port)) {
                for (host, address) in slice.endpoints() {
                    targets.insert(((cluster, host.clone()), port.number));
                    pairs.insert(((cluster, host), address, port));
                }
            }
        }
        // An endpoint's RRset is whole, whichever of its slices has the port.
        let mut hosts: BTreeMap<Label<'_>, BTreeSet<IpAddr>> = BTreeMap::new();
        for slice in view.slices() {
            for (host, address) in slice.endpoints() {
                let host = (slice.cluster.as_deref(), host);
                hosts.entry(host).or_default().insert(address);
            }
        }
        let mut records = Vec::new();
        let mut named = Vec::new();
        let mut last: Option<(Label<'_>, Name)> = None;
        for (host, port) in targets {
            let target = match last.take() {
                Some((before, target)) if before == host => target,
                _ => {
                    let (cluster, label) = &host;
                    let labels = std::iter::once(&**label).chain(*cluster);
                    let labels: Vec<&str> = labels.collect();
                    let Some(target) = below(own, &labels) else {
                        continue;
                    };
                    if let Some(addresses) = hosts.get(&host) {
                        records.extend(self.address_records(&target, addresses));
                    }
                    target
                }
            };
            named.push((target.clone(), port));
            last = Some((host, target));
        }
        (named, records, pairs.len())
    }

    fn address_records(&self, owner: &Name, addresses: &BTreeSet<IpAddr>) -> Vec<Record> {
        addresses
            .iter()
            .map(|&address| {
                Record::from_rdata(owner.clone(), self.config.ttl, address_rdata(address))
            })
            .collect()
    }
}

/// The cluster and the label of an endpoint.
type Label<'z> = (Option<&'z str>, Cow<'z, str>);

/// The weight of SRV records. `CoreDNS` divides by the addresses of the targets, before duplicates are taken out.
pub(super) fn weight(count: usize) -> u16 {
    u16::try_from(100 / count.max(1)).unwrap_or(1).max(1)
}

/// Whether a port has the name and protocol of an SRV owner name.
fn is_named(port: &Port, protocol: Protocol, name: &str) -> bool {
    port.protocol == protocol && port.name.as_deref() == Some(name)
}

fn addresses_of_type(addresses: &BTreeSet<IpAddr>, rtype: RecordType) -> Vec<RData> {
    addresses
        .iter()
        .filter(|address| address.is_ipv4() == (rtype == RecordType::A))
        .map(|&address| address_rdata(address))
        .collect()
}

fn address_rdata(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}
