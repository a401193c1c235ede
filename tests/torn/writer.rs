//! The writer: the daemon's own encoder and table, over the maps of the loaded programs.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
};

use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA},
};
use hopzero::{
    publisher::{
        encode::Encoder,
        table::{Put, Table},
    },
    zone::{Node, RrSet, Zone},
};

use crate::states::{Board, NAMES, State, mix, name_of};

/// What the writer does wrong on purpose, so that the reader has something to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It says that a version is true before it is written: what is answered is stale.
    ClaimsEarly,
    /// It takes the old version away before it writes the new one: the name is missed.
    RemovesFirst,
}

/// What the writer did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Versions, removals included.
    pub updates: u64,
    /// Versions that found no room.
    pub full: u64,
}

/// Writes until `stop`.
pub fn hammer(
    table: &mut Table,
    zone: &Zone,
    board: &Board,
    fault: Fault,
    stop: &AtomicBool,
) -> Written {
    let names: Vec<Name> = (0..NAMES)
        .map(|name| Name::from_ascii(format!("{}.", name_of(name))).expect("a name"))
        .collect();
    let mut encoder = Encoder::default();
    let mut written = Written::default();
    while !stop.load(Ordering::Relaxed) {
        let name = usize::try_from(mix(written.updates) % NAMES as u64).expect("small");
        // Made before it starts, so that the time in which two versions are right is short.
        let next = State::of(name, board.newest(name) + 1);
        let node = node_of(next);
        let record = encoder.encode(zone, 0, &names[name], &node);
        let version = board.start(name);
        if fault == Fault::ClaimsEarly {
            board.finish(name, version, false);
        }
        let full = if let Some(record) = record {
            if fault == Fault::RemovesFirst {
                table.remove(record.name_words());
            }
            table.put(&record) == Put::Full
        } else {
            table.remove(encoder.words_of(&names[name]));
            false
        };
        board.finish(name, version, full);
        written.updates += 1;
        written.full += u64::from(full);
    }
    written
}

fn node_of(state: State) -> Node {
    if state.is_absent() {
        return Node::Absent;
    }
    let a = (0..state.a_count).map(|place| RData::A(A(Ipv4Addr::from(state.a(place)))));
    let aaaa =
        (0..state.aaaa_count).map(|place| RData::AAAA(AAAA(Ipv6Addr::from(state.aaaa(place)))));
    let rrset = |rtype, rdata| RrSet {
        rtype,
        ttl: state.version,
        rdata,
        additionals: Vec::new(),
    };
    Node::Records(vec![
        rrset(RecordType::A, a.collect()),
        rrset(RecordType::AAAA, aaaa.collect()),
    ])
}
