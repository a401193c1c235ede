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

use crate::zone::{Held, Node, OwnerName, Zone};
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
/// Names whose memory is asked for before the first of them is written.
const MET_AT_ONCE: usize = 16;
const _: () = assert!(PROGRESS_EVERY.is_multiple_of(MET_AT_ONCE));

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
        for owner in zone.owners() {
            if let Some(record) = encoder.encode_held(zone, 0, &owner, &zone.held(&owner).1) {
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
            for (index, owner) in zone.owners().enumerate() {
                if has_addresses(&zone.held(&owner).1) == addresses {
                    let hash = self.table.meet(owner.wire());
                    self.publish_owner(zone, &owner, hash);
                }
                report(index + 1, progress);
            }
        }
        self.warn_of_rejected(rejected);
        self.renew_zones(zone, |_| true);
    }

    /// Writes the names that a change touched, as the zone has them now. Many become visible as one step
    /// if there is room for that.
    pub fn publish(&mut self, zone: &Zone, touched: &[OwnerName]) {
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
        touched: &[OwnerName],
        progress: &mut dyn FnMut(),
    ) -> Result<(), NoRoom> {
        self.relist(zone);
        if touched.len() < BUILT_FROM {
            self.publish_each(zone, touched, progress);
            return Ok(());
        }
        // What only the generation before leads to has to be free for this one.
        self.settle();
        if !self.table.begin() {
            // It is not known whether the other generation is still read: it is not touched then.
            self.publish_each(zone, touched, progress);
            return Ok(());
        }
        for (index, owners) in touched.chunks(MET_AT_ONCE).enumerate() {
            for (owner, hash) in self.meet(owners) {
                if self.put_or_remove(zone, owner, hash) == Some(Put::Full) {
                    self.table.abandon();
                    self.builds.failed += 1;
                    return Err(NoRoom);
                }
            }
            report((index + 1) * MET_AT_ONCE, progress);
        }
        self.flip();
        self.renew_touched_zones(zone, touched);
        Ok(())
    }

    /// Writes the names that a change touched one by one: each becomes visible by itself. What there is no
    /// room for passes to the socket.
    pub fn publish_each(&mut self, zone: &Zone, touched: &[OwnerName], progress: &mut dyn FnMut()) {
        self.relist(zone);
        if self.programs.has_waited() {
            self.settle();
        }
        let rejected = self.rejected;
        for (index, owners) in touched.chunks(MET_AT_ONCE).enumerate() {
            for (owner, hash) in self.meet(owners) {
                self.publish_owner(zone, owner, hash);
            }
            report((index + 1) * MET_AT_ONCE, progress);
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

    /// Names that are written next, with their hashes.
    fn meet<'o>(
        &self,
        owners: &'o [OwnerName],
    ) -> impl Iterator<Item = (&'o OwnerName, u64)> + use<'o> {
        let mut hashes = [0; MET_AT_ONCE];
        for (hash, owner) in hashes.iter_mut().zip(owners) {
            *hash = self.table.meet(owner.wire());
        }
        owners.iter().zip(hashes)
    }

    /// Ends a build: it is put in use. What only the generation before leads to is not free before nobody reads that, for
    /// which there is time until the next build.
    fn flip(&mut self) {
        let generation = self.table.finish();
        self.programs.set_generation(generation);
        self.builds.flipped += 1;
        self.programs.begin_wait();
    }

    /// Waits until nobody reads the generation before, so that what only it leads to is free.
    fn settle(&mut self) {
        if self.table.is_draining() {
            match self.programs.end_wait() {
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
    fn renew_touched_zones(&mut self, zone: &Zone, touched: &[OwnerName]) {
        let settles = !self.zones.is_settled() && self.zones.is_current(zone);
        if settles && self.has_waited() {
            self.zones.settle();
            self.renew_zones(zone, |_| true);
        } else {
            self.renew_zones(zone, |apex| touched.contains(&OwnerName::new(apex)));
        }
    }

    /// Waits until every program that had begun has ended. False: it is not known whether they have.
    fn has_waited(&mut self) -> bool {
        let waited = self.programs.wait();
        match &waited {
            Ok(()) => self.table.release(),
            Err(error) => {
                warn!(%error, "cannot wait for the programs: until that works, no name is denied");
            }
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

    fn publish_owner(&mut self, zone: &Zone, owner: &OwnerName, hash: u64) {
        let mut put = self.put_or_remove(zone, owner, hash);
        if put == Some(Put::Full) && self.table.is_draining() {
            // There is more room when nobody reads the generation before.
            self.settle();
            put = self.put_or_remove(zone, owner, hash);
        }
        if put == Some(Put::Full) {
            self.rejected += 1;
            self.zones.incomplete(&mut *self.programs);
        }
    }

    fn put_or_remove(&mut self, zone: &Zone, owner: &OwnerName, hash: u64) -> Option<Put> {
        let (number, held) = zone.held(owner);
        let place = self.zones.place_of(number);
        if let Some(record) = self.encoder.encode_held(zone, place, owner, &held) {
            return Some(self.table.put_hashed(hash, &record));
        }
        self.table
            .remove_hashed(hash, self.encoder.words_of_owner(owner));
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
        self.programs.wait()?;
        self.table.release();
        Ok(())
    }
}

/// Says every now and then that there is progress.
fn report(index: usize, progress: &mut dyn FnMut()) {
    if index.is_multiple_of(PROGRESS_EVERY) {
        progress();
    }
}

fn apexes(zone: &Zone) -> impl Iterator<Item = &Name> {
    zone.config().zones()
}

fn has_addresses(held: &Held<'_>) -> bool {
    let node = match held {
        Held::Addresses(_) => return true,
        Held::Node(node) => node,
        Held::Nothing | Held::Empty | Held::Port(_) | Held::Pointer(_) => return false,
    };
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
        Node::Records(rrsets) => {
            !rrsets.is_empty() || zone.config().domains().any(|domain| domain.zone_of(name))
        }
    }
}
