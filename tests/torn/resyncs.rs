//! Resyncs, one after the other: every service changes in one batch of more names than are written one by one, so that each
//! batch is built in the other generation of the index and becomes visible by a flip.
//!
//! All services are one unit, and its versions come as one step. So a read that begins after another one has seen a version
//! must not see an older one, whichever names the two ask for.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicBool, Ordering},
};

use hopzero::{
    publisher::{BUILT_FROM, Publisher, table::Capacity},
    source::{
        Change, Kind, Object, ObjectKey,
        objects::{ObjectMeta, Service, ServicePort, ServiceSpec},
    },
    zone::{Zone, ZoneConfig},
};
use hopzero_tests::packets::build::{A, AAAA, wire_name};

use crate::{
    Written,
    board::Board,
    layout::SOA,
    services::{self, address_record},
    world::{Question, SRV, TXT, Truth, World, ZONE, record},
};

/// Three names each; with the names of those that are gone more than [`BUILT_FROM`] change.
const SERVICES: u32 = 500;
/// Those that are asked for.
const ASKED: u32 = 60;
/// One service in so many is absent, other ones in each version.
const ABSENT_ONE_IN: u32 = 8;
const UNIT: usize = 0;
const TTL: u32 = 5;
const NAMESPACE: &str = "resync";
const WEIGHT: u16 = 100;

/// What the writer does wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It writes a batch name by name.
    OneByOne,
}

/// The size of the table: room for two states, and little more, so that what is freed is used again.
pub fn capacity() -> Capacity {
    Capacity::new(4 * SERVICES, 16 * SERVICES)
}

fn own_name(service: u32) -> String {
    format!("s{service}.{NAMESPACE}.svc.{ZONE}")
}

fn exists(service: u32, version: u32) -> bool {
    !(service + version).is_multiple_of(ABSENT_ONE_IN)
}

/// An address that says version and service.
fn address(service: u32, version: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(version << 10 | service)
}

fn port(version: u32) -> u16 {
    u16::try_from(1 + version % 65_000).expect("a port")
}

/// The services, and what they are in each version.
pub struct Resyncs;

impl World for Resyncs {
    fn questions(&self) -> Vec<Question> {
        let services = (0..ASKED).map(|number| number * (SERVICES / ASKED));
        let questions = services.flat_map(|service| {
            let own = own_name(service);
            let of_own = [A, A, AAAA, TXT].map(|qtype| Question::new(UNIT, service, &own, qtype));
            let port = Question::new(UNIT, service, &format!("_p._tcp.{own}"), SRV);
            of_own.into_iter().chain([port])
        });
        questions.collect()
    }

    fn truth(&self, question: &Question, version: u32, records: &mut Vec<u8>) -> Truth {
        let service = question.place;
        if !exists(service, version) {
            return Truth::Absent;
        }
        let address = IpAddr::from(address(service, version));
        match question.qtype {
            A => {
                address_record(records, None, address);
                Truth::Records(1, 0)
            }
            SRV => {
                let own = wire_name(&own_name(service));
                let mut rdata = [0, WEIGHT, port(version)].map(u16::to_be_bytes).concat();
                rdata.extend_from_slice(&own);
                record(records, None, SRV, TTL, &rdata);
                address_record(records, Some(&own), address);
                Truth::Records(1, 1)
            }
            _ => Truth::NoData,
        }
    }

    fn is_one_step(&self) -> bool {
        true
    }
}

/// The writer.
pub struct Writer {
    publisher: Publisher,
    zone: Zone,
    fault: Fault,
}

impl Writer {
    /// Publishes a zone without services.
    pub fn new(publisher: Publisher, fault: Fault) -> Self {
        let zone = Zone::new(ZoneConfig {
            origin: ZONE.parse().expect("a name"),
            ttl: TTL,
            ..ZoneConfig::default()
        });
        let mut writer = Writer {
            publisher,
            zone,
            fault,
        };
        services::begin(&mut writer.zone, &mut writer.publisher, NAMESPACE);
        writer
    }

    /// How often the index was flipped.
    pub fn flips(&self) -> u64 {
        self.publisher.builds().flipped
    }

    /// Writes until `stop`.
    pub fn hammer(&mut self, board: &Board, stop: &AtomicBool) -> Written {
        let mut written = Written::default();
        while !stop.load(Ordering::Relaxed) {
            let version = board.newest(UNIT) + 1;
            let serial = board.newest(SOA) + 1;
            let batch = (0..SERVICES).map(|service| change(service, version));
            let touched = self.zone.apply(batch.collect(), serial);
            assert!(touched.len() >= BUILT_FROM, "{} names", touched.len());
            board.start(UNIT);
            board.start(SOA);
            if self.fault == Fault::OneByOne {
                (self.publisher).publish_each(&self.zone, &touched, &mut || ());
            } else {
                let result = (self.publisher).try_publish(&self.zone, &touched, &mut || ());
                result.expect("room for both states");
            }
            board.finish(UNIT, version);
            board.finish_soa(serial, false);
            written.updates += touched.len() as u64;
        }
        assert_eq!(self.publisher.rejected(), 0);
        written
    }
}

/// Brings a service to a version.
fn change(service: u32, version: u32) -> Change {
    let name = format!("s{service}");
    if !exists(service, version) {
        return Change::Delete(ObjectKey {
            kind: Kind::Service,
            namespace: NAMESPACE.to_owned(),
            name,
        });
    }
    Change::Upsert(Object::Service(Box::new(Service {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ips: Some(vec![address(service, version).to_string()]),
            ports: Some(vec![ServicePort {
                name: Some("p".to_owned()),
                port: port(version).into(),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
    })))
}
