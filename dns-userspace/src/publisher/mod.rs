//! Turns touched names into records of the maps. The cost of a change is proportional to the names
//! that it touches.
//!
//! | module | concept |
//! |---|---|
//! | [`memory`] | words shared with the programs |
//! | [`heap`] | which cells are free |
//! | [`table`] | index and records: put, remove, find |
//! | [`zones`] | where a name without a record is denied |
//! | [`encode`] | from a zone's node to a record |

pub mod encode;
pub mod heap;
pub mod memory;
pub mod table;
pub mod zones;

use hickory_proto::rr::{Name, RecordType};
use tracing::warn;

use crate::zone::{Node, Zone};
use encode::Encoder;
use table::{Put, Table};
use zones::{ZoneSink, Zones};

/// Writes names of a zone into a table.
pub struct Publisher {
    table: Table,
    encoder: Encoder,
    zones: Zones,
    /// Names that did not fit, and pass to the socket.
    rejected: u64,
}

/// How much memory a zone needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Owner names with a record.
    pub names: u32,
    /// Cells of all records.
    pub cells: u32,
}

impl Publisher {
    /// A publisher into `table`, with the list of zones in `sink`.
    pub fn new(table: Table, sink: Box<dyn ZoneSink>) -> Self {
        Publisher {
            table,
            zones: Zones::new(sink),
            encoder: Encoder::default(),
            rejected: 0,
        }
    }

    /// What all names of the zone need now.
    pub fn measure(zone: &Zone) -> Size {
        let mut encoder = Encoder::default();
        let mut size = Size::default();
        for name in zone.names() {
            if let Some(record) = encoder.encode(zone, 0, &name, &zone.node(&name)) {
                size.names += 1;
                size.cells += record.cells;
            }
        }
        size
    }

    /// Writes every name of the zone.
    pub fn publish_all(&mut self, zone: &Zone) {
        self.zones.list(zone, &mut self.encoder);
        // Names with addresses are what is asked most: they come first, while their homes are free.
        for addresses in [true, false] {
            for name in zone.names() {
                let node = zone.node(&name);
                if has_addresses(&node) == addresses {
                    self.publish_node(zone, &name, &node);
                }
            }
        }
        for apex in apexes(zone) {
            self.renew_zone(zone, apex);
        }
    }

    /// Writes the names that a change touched, as the zone has them now.
    pub fn publish(&mut self, zone: &Zone, touched: &[Name]) {
        for name in touched {
            self.publish_node(zone, name, &zone.node(name));
        }
        // Last: a zone says that it is complete only when it is.
        for apex in apexes(zone).filter(|apex| touched.contains(apex)) {
            self.renew_zone(zone, apex);
        }
    }

    fn renew_zone(&mut self, zone: &Zone, apex: &Name) {
        let complete = self.rejected == 0;
        self.zones
            .renew(zone, apex, complete, &mut self.table, &mut self.encoder);
    }

    fn publish_node(&mut self, zone: &Zone, name: &Name, node: &Node) {
        let zone_index = self.zones.index_of(zone, name);
        match self.encoder.encode(zone, zone_index, name, node) {
            Some(record) => {
                if self.table.put(&record) == Put::Full {
                    self.rejected += 1;
                    self.zones.incomplete();
                    warn!(%name, names = self.table.names(), "the kernel's table is full: this name is answered by the socket, and so is every name that does not exist; start with a larger --names-max");
                }
            }
            None => self.table.remove(self.encoder.words_of(name)),
        }
    }

    /// The zones that the programs know, by their places in the list.
    pub fn zones(&self) -> impl Iterator<Item = (usize, &Name)> {
        self.zones.listed()
    }

    /// The table, for figures.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Names that did not fit since the start.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }
}

fn apexes(zone: &Zone) -> impl Iterator<Item = &Name> {
    std::iter::once(&zone.config().origin).chain(&zone.config().reverse)
}

fn has_addresses(node: &Node) -> bool {
    match node {
        Node::Records(rrsets) => rrsets
            .iter()
            .any(|rrset| matches!(rrset.rtype, RecordType::A | RecordType::AAAA)),
        Node::Absent | Node::SocketOnly => false,
    }
}

/// Whether the kernel keeps a record of this node.
fn is_kept(zone: &Zone, name: &Name, node: &Node) -> bool {
    match node {
        Node::Absent => false,
        Node::SocketOnly => true,
        // The empty names within a reverse zone are many (up to 31 for an IPv6 address), and nobody
        // asks for them; a name that is not there passes to the socket.
        Node::Records(rrsets) => !rrsets.is_empty() || zone.config().origin.zone_of(name),
    }
}
