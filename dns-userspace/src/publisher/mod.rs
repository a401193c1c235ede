//! Turns touched names into records of the maps. The cost of a change is proportional to the names
//! that it touches.
//!
//! | module | concept |
//! |---|---|
//! | [`memory`] | words shared with the programs |
//! | [`heap`] | which cells are free |
//! | [`table`] | index and records: put, remove, find |
//! | [`generations`] | which of the two is written, and what must stay for those who read the other |
//! | [`programs`] | who reads the table: what they are told, and how to wait for them |
//! | [`zones`] | where a name without a record is denied |
//! | [`encode`] | from a zone's node to a record |

pub mod encode;
pub mod generations;
pub mod heap;
pub mod memory;
pub mod programs;
pub mod table;
#[cfg(test)]
mod tests;
pub mod zones;

use std::io;

use hickory_proto::rr::{Name, RecordType};
use tracing::warn;

use crate::zone::{Node, Zone};
use encode::Encoder;
use programs::Programs;
use table::{Put, Table};
use zones::Zones;

/// Names from which on a batch becomes visible as one step: more than one service of a few hundred endpoints
/// has, so that what a cluster does every second stays cheap. A build of this many took 12 ms in a table for 800,000
/// names (the index is copied, and its readers are waited for), and 2.5 ms one by one.
pub const BUILT_FROM: usize = 1024;
/// Names between two reports of progress: 10 ms or less.
const PROGRESS_EVERY: usize = 4096;

/// Writes names of a zone into a table.
pub struct Publisher {
    table: Table,
    encoder: Encoder,
    zones: Zones,
    programs: Box<dyn Programs>,
    /// Names that did not fit, and pass to the socket.
    rejected: u64,
    builds: Builds,
}

/// How often many names became visible as one step, or did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Builds {
    /// The index was flipped.
    pub flipped: u64,
    /// There was no room for both states.
    pub failed: u64,
}

/// The table has no room for the batch, and is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's table has no room for the changes")]
pub struct NoRoom;

/// How much memory a zone needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Owner names with a record.
    pub names: u32,
    /// Cells of all records.
    pub cells: u32,
}

impl Publisher {
    /// A publisher into `table`, which `programs` read.
    pub fn new(table: Table, mut programs: Box<dyn Programs>) -> Self {
        programs.set_generation(table.generation());
        Publisher {
            table,
            encoder: Encoder::default(),
            zones: Zones::default(),
            programs,
            rejected: 0,
            builds: Builds::default(),
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

    /// Writes every name of the zone into an empty table, before there is anybody to read it.
    pub fn publish_all(&mut self, zone: &Zone) {
        self.publish_all_with(zone, &mut || ());
    }

    /// The same; calls `progress` again and again.
    pub fn publish_all_with(&mut self, zone: &Zone, progress: &mut dyn FnMut()) {
        (self.zones).list(zone, &mut self.encoder, &mut *self.programs);
        let rejected = self.rejected;
        // Names with addresses are what is asked most: they come first, while their homes are free.
        for addresses in [true, false] {
            for (index, name) in zone.names().enumerate() {
                let node = zone.node(&name);
                if has_addresses(&node) == addresses {
                    self.publish_node(zone, &name, &node);
                }
                report(index, progress);
            }
        }
        self.warn_of_rejected(rejected);
        self.renew_zones(zone, |_| true);
    }

    /// Writes the names that a change touched, as the zone has them now. Many become visible as one step
    /// if there is room for that.
    pub fn publish(&mut self, zone: &Zone, touched: &[Name]) {
        if self.try_publish(zone, touched, &mut || ()).is_err() {
            self.publish_each(zone, touched, &mut || ());
        }
    }

    /// The same, but many names become visible as one step or not at all; calls `progress` again and again.
    ///
    /// # Errors
    /// There is no room for both states of many names.
    pub fn try_publish(
        &mut self,
        zone: &Zone,
        touched: &[Name],
        progress: &mut dyn FnMut(),
    ) -> Result<(), NoRoom> {
        self.relist(zone);
        if touched.len() < BUILT_FROM {
            self.publish_each(zone, touched, progress);
            return Ok(());
        }
        self.settle();
        if !self.table.begin() {
            // It is not known whether the other generation is still read: it is not touched then.
            self.publish_each(zone, touched, progress);
            return Ok(());
        }
        for (index, name) in touched.iter().enumerate() {
            if self.put_or_remove(zone, name, &zone.node(name)) == Some(Put::Full) {
                self.table.abandon();
                self.builds.failed += 1;
                return Err(NoRoom);
            }
            report(index, progress);
        }
        self.flip();
        self.renew_touched_zones(zone, touched);
        Ok(())
    }

    /// Writes the names that a change touched one by one: each becomes visible by itself. What there is no
    /// room for passes to the socket.
    pub fn publish_each(&mut self, zone: &Zone, touched: &[Name], progress: &mut dyn FnMut()) {
        self.relist(zone);
        let rejected = self.rejected;
        for (index, name) in touched.iter().enumerate() {
            self.publish_node(zone, name, &zone.node(name));
            report(index, progress);
        }
        self.warn_of_rejected(rejected);
        self.renew_touched_zones(zone, touched);
        if self.table.is_marked_up() {
            self.tidy();
        }
    }

    /// Turns to a copy of the index without the marks of names that are gone.
    fn tidy(&mut self) {
        self.settle();
        if self.table.begin() {
            self.flip();
        }
    }

    /// Ends a build: it is put in use, and what only the generation before leads to is free when nobody reads that.
    fn flip(&mut self) {
        let generation = self.table.finish();
        self.programs.set_generation(generation);
        self.builds.flipped += 1;
        self.settle();
    }

    /// Waits until nobody reads the generation before, so that what only it leads to is free.
    fn settle(&mut self) {
        if self.table.is_draining() {
            match self.programs.wait() {
                Ok(()) => self.table.release(),
                Err(error) => {
                    warn!(%error, "cannot wait for the programs: until that works, large changes become visible name by name");
                }
            }
        }
    }

    /// First in a change: where another part of the zone is kept on the socket than before, nothing is denied before
    /// all of that has come to the programs. Those that may still deny have ended before a record goes.
    fn relist(&mut self, zone: &Zone) {
        if !self.zones.is_current(zone) {
            (self.zones).unsettle(&mut *self.programs);
            if self.has_waited() {
                (self.zones).relist(zone, &mut self.encoder, &mut *self.programs);
            }
        }
    }

    /// Last in a change: a zone says that it is complete only when it is, and when nobody reads an index any more in
    /// which it was not, nor a list of zones from before.
    fn renew_touched_zones(&mut self, zone: &Zone, touched: &[Name]) {
        let settles = !self.zones.is_settled() && self.zones.is_current(zone);
        if settles && self.has_waited() {
            self.zones.settle();
            self.renew_zones(zone, |_| true);
        } else {
            self.renew_zones(zone, |apex| touched.contains(apex));
        }
    }

    /// Waits until every program that had begun has ended. False: it is not known whether they have.
    fn has_waited(&mut self) -> bool {
        let waited = self.programs.wait();
        if let Err(error) = &waited {
            warn!(%error, "cannot wait for the programs: until that works, no name is denied");
        }
        waited.is_ok()
    }

    fn renew_zones(&mut self, zone: &Zone, is_touched: impl Fn(&Name) -> bool) {
        let complete = self.rejected == 0;
        for apex in apexes(zone).filter(|apex| is_touched(apex)) {
            self.zones.renew(
                zone,
                apex,
                complete,
                &mut self.table,
                &mut self.encoder,
                &mut *self.programs,
            );
        }
    }

    fn publish_node(&mut self, zone: &Zone, name: &Name, node: &Node) {
        if self.put_or_remove(zone, name, node) == Some(Put::Full) {
            self.rejected += 1;
            self.zones.incomplete(&mut *self.programs);
        }
    }

    fn put_or_remove(&mut self, zone: &Zone, name: &Name, node: &Node) -> Option<Put> {
        let zone_index = self.zones.index_of(zone, name);
        if let Some(record) = self.encoder.encode(zone, zone_index, name, node) {
            return Some(self.table.put(&record));
        }
        self.table.remove(self.encoder.words_of(name));
        None
    }

    fn warn_of_rejected(&self, before: u64) {
        let rejected = self.rejected - before;
        if rejected > 0 {
            warn!(
                rejected,
                names = self.table.names(),
                "the kernel's table is full: these names are answered by the socket, and so is every name that does not exist"
            );
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

    /// How often many names became visible as one step, or did not.
    pub fn builds(&self) -> Builds {
        self.builds
    }

    /// Waits until every run of the programs that has begun has ended.
    ///
    /// # Errors
    /// That cannot be known.
    pub fn wait_for_programs(&mut self) -> io::Result<()> {
        self.programs.wait()
    }
}

/// Says every now and then that there is progress.
fn report(index: usize, progress: &mut dyn FnMut()) {
    if index % PROGRESS_EVERY == PROGRESS_EVERY - 1 {
        progress();
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
        Node::Alias(_) => true,
        Node::Absent | Node::SocketOnly => false,
    }
}

/// Whether the kernel keeps a record of this node.
fn is_kept(zone: &Zone, name: &Name, node: &Node) -> bool {
    match node {
        Node::Absent => false,
        // Where nothing is denied, what has no record passes too.
        Node::SocketOnly => !zone.is_kept_below(name),
        Node::Alias(_) => true,
        // The empty names within a reverse zone are many (up to 31 for an IPv6 address), and nobody
        // asks for them; a name that is not there passes to the socket.
        Node::Records(rrsets) => !rrsets.is_empty() || zone.config().origin.zone_of(name),
    }
}
