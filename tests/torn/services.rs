//! The daemon's own way: changes of Kubernetes objects go into a [`Zone`], and the [`Publisher`] writes the names that
//! they touch. A unit is a service: its objects change together.
//!
//! Services with a cluster IP have A, AAAA, SRV with additional records, an empty non-terminal, and PTR; headless
//! ones have endpoints in two slices. Their names crowd a bucket of the index, as in [`crate::raw`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
};

use hopzero::{
    publisher::{Publisher, table::Capacity},
    source::{
        Batch, Change, Kind, Object, ObjectKey,
        objects::{
            Endpoint, EndpointSlice, Namespace, ObjectMeta, Service, ServicePort, ServiceSpec,
        },
    },
    zone::{OwnerName, Zone, ZoneConfig},
};
use hopzero_tests::packets::build::{A, AAAA, PTR, wire_name};

use crate::{
    Written,
    board::Board,
    layout::SOA,
    world::{Question, SRV, TXT, Truth, World, ZONE, address6, crowded, mix, record},
};

/// Services whose bucket is the crowded one, and services of the one behind it.
const CROWD: (usize, usize) = (14, 6);
const UNITS: usize = CROWD.0 + CROWD.1;
const CROWDED: u32 = 7;
/// Endpoints of a headless service.
const HOSTS: u32 = 6;
/// One change in so many is a resync: everything changes in one batch.
const RESYNC_ONE_IN: u64 = 64;
/// One version in so many is an absent service.
const ABSENT_ONE_IN: u64 = 6;
const TTL: u32 = 5;
const NAMESPACE: &str = "torn";

/// Places of names in a unit, before those of endpoints.
const OWN: u32 = HOSTS;
const PORT: u32 = HOSTS + 1;
const PROTOCOL: u32 = HOSTS + 2;
const REVERSE: u32 = HOSTS + 3;

/// The size of the table. Names come and go for ever, and marks of overflow stay: with so many buckets only those are
/// crowded that are meant to be.
pub fn capacity() -> Capacity {
    Capacity::new(20_000, 8_192)
}

/// The services, and what they are in each version.
pub struct Services {
    names: Vec<String>,
}

impl Services {
    /// The services whose names crowd a bucket of this publisher's table.
    pub fn new(publisher: &Publisher) -> Self {
        let table = publisher.table();
        let spread = (table.seed(), table.capacity().buckets);
        let name = |number| format!("{}.{NAMESPACE}.svc.{ZONE}", service_name(number));
        let names = crowded(name, spread, CROWDED, CROWD);
        Services {
            names: (names.into_iter())
                .map(|(number, _)| service_name(number))
                .collect(),
        }
    }

    fn own_name(&self, unit: usize) -> String {
        format!("{}.{NAMESPACE}.svc.{ZONE}", self.names[unit])
    }
}

fn service_name(number: u32) -> String {
    format!("s{number}")
}

fn host_name(host: u32) -> String {
    format!("e{host}")
}

/// The address that a service with a cluster IP has in many versions.
fn fixed_address(unit: usize) -> [u8; 4] {
    [248, 96, 0, u8::try_from(unit).expect("small")]
}

/// An address that says version, unit and place, in the order of the places. The version comes first: addresses that
/// come and go together share the reverse names above them, which are none of the records that are counted.
fn address4(unit: usize, version: u32, place: u32) -> [u8; 4] {
    let unit = u32::try_from(unit).expect("small");
    (version << 10 | unit << 5 | place).to_be_bytes()
}

impl World for Services {
    fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for unit in 0..UNITS {
            let own = self.own_name(unit);
            let mut ask = |place, name: &str, types: &[u16]| {
                questions.extend(
                    types
                        .iter()
                        .map(|qtype| Question::new(unit, place, name, *qtype)),
                );
            };
            ask(OWN, &own, &[A, AAAA, A, AAAA, TXT]);
            if is_headless(unit) {
                for host in 0..HOSTS {
                    ask(host, &format!("{}.{own}", host_name(host)), &[A, AAAA]);
                }
            } else {
                ask(PORT, &format!("_p._tcp.{own}"), &[SRV, SRV, SRV, A]);
                ask(PROTOCOL, &format!("_tcp.{own}"), &[A]);
                let [a, b, c, d] = fixed_address(unit);
                ask(REVERSE, &format!("{d}.{c}.{b}.{a}.in-addr.arpa"), &[PTR]);
            }
        }
        questions
    }

    fn truth(&self, question: &Question, version: u32, records: &mut Vec<u8>) -> Truth {
        let (unit, qtype) = (question.unit, question.qtype);
        let state = State::of(unit, version);
        if !state.has(question.place) {
            return Truth::Absent;
        }
        let mut addresses = Vec::new();
        match (question.place, qtype) {
            (PORT, SRV) => {
                let own = wire_name(&self.own_name(unit));
                state.addresses(OWN, &mut addresses);
                let weight = u16::try_from(100 / addresses.len()).expect("small");
                let mut rdata = [0_u16, weight, state.port()].map(u16::to_be_bytes).concat();
                rdata.extend_from_slice(&own);
                record(records, None, SRV, TTL, &rdata);
                for address in &addresses {
                    address_record(records, Some(&own), *address);
                }
                return Truth::Records(1, u8::try_from(addresses.len()).expect("small"));
            }
            (REVERSE, _) => {
                record(records, None, PTR, TTL, &wire_name(&self.own_name(unit)));
                return Truth::Records(1, 0);
            }
            (PORT | PROTOCOL, _) => return Truth::NoData,
            (place, A | AAAA) => state.addresses(place, &mut addresses),
            _ => return Truth::NoData,
        }
        addresses.retain(|address| address.is_ipv4() == (qtype == A));
        for address in &addresses {
            address_record(records, None, *address);
        }
        if addresses.is_empty() {
            Truth::NoData
        } else {
            Truth::Records(u8::try_from(addresses.len()).expect("small"), 0)
        }
    }
}

/// Appends an address record; its owner is the question's name unless one is given.
pub fn address_record(records: &mut Vec<u8>, owner: Option<&[u8]>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => record(records, owner, A, TTL, &address.octets()),
        IpAddr::V6(address) => record(records, owner, AAAA, TTL, &address.octets()),
    }
}

fn is_headless(unit: usize) -> bool {
    unit % 2 == 1
}

/// What a version of a service looks like: it follows from its number alone.
#[derive(Clone, Copy)]
struct State {
    unit: usize,
    version: u32,
    random: u64,
}

impl State {
    fn of(unit: usize, version: u32) -> Self {
        State {
            unit,
            version,
            random: mix((unit as u64) << 32 | u64::from(version)),
        }
    }

    fn exists(self) -> bool {
        !self.random.is_multiple_of(ABSENT_ONE_IN)
    }

    /// Whether there is this name.
    fn has(self, place: u32) -> bool {
        self.exists()
            && match place {
                REVERSE => self.bit(10),
                host if host < HOSTS => self.has_host(host),
                _ => true,
            }
    }

    fn bit(self, bit: u32) -> bool {
        self.random >> bit & 1 == 1
    }

    fn port(self) -> u16 {
        u16::try_from(1 + self.version % 65_000).expect("a port")
    }

    fn has_host(self, host: u32) -> bool {
        let hosts = self.random >> 16 & 0x3f;
        hosts >> host & 1 == 1 || host == 0 && hosts == 0
    }

    /// A and AAAA records of an endpoint, not none of both.
    fn host_counts(self, host: u32) -> (u32, u32) {
        let bits = |from: u32| u32::try_from(self.random >> from & 3).expect("small");
        match (bits(24 + 2 * host), bits(36 + 2 * host)) {
            (0, 0) => (1, 0),
            counts => counts,
        }
    }

    /// The addresses of a name, in their order.
    fn addresses(self, place: u32, addresses: &mut Vec<IpAddr>) {
        let v4 = |bytes: [u8; 4]| IpAddr::from(Ipv4Addr::from(bytes));
        let v6 = |place| IpAddr::from(Ipv6Addr::from(address6(self.unit, self.version, place)));
        let versioned = |place| v4(address4(self.unit, self.version, place));
        if !is_headless(self.unit) {
            if self.bit(8) || !self.bit(9) {
                addresses.push(versioned(0));
            }
            if self.bit(10) {
                addresses.push(v4(fixed_address(self.unit)));
            }
            if self.bit(9) {
                addresses.push(v6(0));
            }
            return;
        }
        let hosts =
            (0..HOSTS).filter(|host| (place == OWN || place == *host) && self.has_host(*host));
        for host in hosts.clone() {
            addresses.extend((0..self.host_counts(host).0).map(|n| versioned(4 * host + n)));
        }
        for host in hosts {
            addresses.extend((0..self.host_counts(host).1).map(|n| v6(4 * host + n)));
        }
    }
}

/// The writer.
pub struct Writer {
    publisher: Publisher,
    zone: Zone,
    names: Vec<String>,
}

impl Writer {
    /// Publishes a zone in which no service has been yet.
    pub fn new(publisher: Publisher) -> Self {
        let names = Services::new(&publisher).names;
        let name = |text: &str| text.parse().expect("a name");
        let mut writer = Writer {
            publisher,
            zone: Zone::new(ZoneConfig {
                origin: name("cluster.local."),
                // Not ip6.arpa.: thirty names for every address, none of which is kept.
                reverse: vec![name("in-addr.arpa.")],
                ttl: TTL,
                ..ZoneConfig::default()
            }),
            names,
        };
        begin(&mut writer.zone, &mut writer.publisher, NAMESPACE);
        writer
    }

    /// What it writes.
    pub fn world(&self) -> Services {
        Services::new(&self.publisher)
    }

    /// Names for which there was no room.
    pub fn rejected(&self) -> u64 {
        self.publisher.rejected()
    }

    /// Writes until `stop`.
    pub fn hammer(&mut self, board: &Board, stop: &AtomicBool) -> Written {
        let mut written = Written::default();
        for step in 0.. {
            let random = mix(step);
            let unit = usize::try_from((random >> 8) % UNITS as u64).expect("small");
            written.updates += if random.is_multiple_of(RESYNC_ONE_IN) || step == 0 {
                self.resync(board)
            } else {
                self.change(board, &[unit])
            };
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        written
    }

    /// Brings the next version of everything in one batch, as after a lost connection.
    fn resync(&mut self, board: &Board) -> u64 {
        let all: Vec<usize> = (0..UNITS).collect();
        self.change(board, &all)
    }

    /// Brings the next version of these services in one batch; returns how many names were written.
    fn change(&mut self, board: &Board, units: &[usize]) -> u64 {
        let mut batch = Vec::new();
        for unit in units {
            let next = State::of(*unit, board.newest(*unit) + 1);
            objects(next, &self.names[*unit], &mut batch);
        }
        let serial = board.newest(SOA) + 1;
        let touched = self.zone.apply(batch, serial);
        let versions: Vec<u32> = units.iter().map(|unit| board.start(*unit)).collect();
        // What was absent and stays absent touches nothing, and leaves the serial.
        let moves_serial = !touched.is_empty();
        if moves_serial {
            board.start(SOA);
        }
        self.publisher.publish(&self.zone, &touched);
        for (unit, version) in units.iter().zip(versions) {
            board.finish(*unit, version);
        }
        if moves_serial {
            board.finish_soa(serial, false);
        }
        touched.iter().filter(|name| has_record(name)).count() as u64
    }
}

/// Whether a touched name has a record, or had one: not the names above addresses.
fn has_record(owner: &OwnerName) -> bool {
    const REVERSE_LABELS: usize = 6;
    owner.labels().last() != Some(b"arpa") || owner.labels().count() == REVERSE_LABELS
}

/// The objects of a version.
fn objects(state: State, name: &str, batch: &mut Batch) {
    if !state.exists() {
        // A headless service leaves its slices behind.
        batch.push(Change::Delete(ObjectKey {
            kind: Kind::Service,
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
        }));
        return;
    }
    let metadata = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        ..ObjectMeta::default()
    };
    let mut addresses = Vec::new();
    let mut spec = ServiceSpec::default();
    if is_headless(state.unit) {
        spec.cluster_ips = Some(vec!["None".to_owned()]);
    } else {
        state.addresses(OWN, &mut addresses);
        spec.cluster_ips = Some(addresses.iter().map(IpAddr::to_string).collect());
        spec.ports = Some(vec![ServicePort {
            name: Some("p".to_owned()),
            port: state.port().into(),
            ..ServicePort::default()
        }]);
    }
    batch.push(Change::Upsert(Object::Service(Box::new(Service {
        metadata: metadata(name),
        spec: Some(spec),
    }))));
    if !is_headless(state.unit) {
        return;
    }
    for family in ["IPv4", "IPv6"] {
        let mut endpoints = Vec::new();
        for host in (0..HOSTS).filter(|host| state.has_host(*host)) {
            addresses.clear();
            state.addresses(host, &mut addresses);
            addresses.retain(|address| address.is_ipv4() == (family == "IPv4"));
            endpoints.push(Endpoint {
                addresses: addresses.iter().map(IpAddr::to_string).collect(),
                hostname: Some(host_name(host)),
                ..Endpoint::default()
            });
        }
        let mut metadata = metadata(&format!("{name}-{}", family.to_lowercase()));
        metadata.labels = Some([("kubernetes.io/service-name".to_owned(), name.to_owned())].into());
        batch.push(Change::Upsert(Object::EndpointSlice(Box::new(
            EndpointSlice {
                metadata,
                endpoints,
                ports: None,
            },
        ))));
    }
}

/// Publishes a zone with nothing but a namespace.
pub fn begin(zone: &mut Zone, publisher: &mut Publisher, namespace: &str) {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
    };
    let namespace = Change::Upsert(Object::Namespace(Box::new(namespace)));
    zone.apply(vec![namespace, Change::Synchronised], 0);
    publisher.publish_all(zone);
}
