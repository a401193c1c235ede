//! Maps and programs of one table, pinned for those who look (`bpftool map dump pinned …`).

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::{Ebpf, maps::MapData};
use hopzero_common::layout::LAYOUT_VERSION;
use tracing::warn;

use super::{
    PinError, Place,
    place::make,
    remove::{self, GENERATION},
};
use crate::kernel::{counters, error::chain};

/// A directory of its own; removed when this is, unless what is pinned is to stay.
#[derive(Debug)]
pub(in crate::kernel) struct Generation {
    place: Arc<Place>,
    name: String,
    path: PathBuf,
    programs: BTreeSet<String>,
    /// Locked: its daemon is alive.
    _alive: File,
}

impl Generation {
    /// Pins the maps of a table that answers, and the programs that are loaded; the links are its from now on.
    ///
    /// # Errors
    /// The file system says no.
    pub fn take(place: &Arc<Place>, ebpf: &mut Ebpf, counted: &MapData) -> Result<Self, PinError> {
        let _locked = place.lock()?;
        let name = format!("{GENERATION}{LAYOUT_VERSION}-{:08x}", fastrand::u32(..));
        let path = place.directory.join(&name);
        make(&path)?;
        let alive = File::open(&path).map_err(PinError::io("open", &path))?;
        (alive.try_lock().map_err(std::io::Error::from)).map_err(PinError::io("lock", &path))?;
        let mut generation = Generation {
            place: Arc::clone(place),
            name,
            path,
            programs: BTreeSet::new(),
            _alive: alive,
        };
        for (name, map) in ebpf.maps() {
            // Those of the compiler (.rodata) have names that a bpffs does not take.
            if name.contains('.') {
                continue;
            }
            let path = generation.path.join(name);
            map.pin(&path).map_err(|error| failed(&error, path))?;
        }
        // It is not among the object's any more. (Neither is GRACE, which holds nothing.)
        let path = generation.path.join(counters::MAP);
        counted.pin(&path).map_err(|error| failed(&error, path))?;
        generation.pin_programs(ebpf);
        place.take(&generation.name)?;
        Ok(generation)
    }

    /// Pins programs that were loaded since.
    pub fn pin_programs(&mut self, ebpf: &mut Ebpf) {
        for (name, program) in ebpf.programs_mut() {
            if program.fd().is_err() || self.programs.contains(name) {
                continue;
            }
            match program.pin(self.path.join(name)) {
                Ok(()) => drop(self.programs.insert(name.to_owned())),
                Err(error) => warn!(name, error = chain(&error), "a program is not pinned"),
            }
        }
    }

    /// The links are its again.
    ///
    /// # Errors
    /// The file system says no.
    pub fn take_back(&self) -> Result<(), PinError> {
        self.place.take(&self.name)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its links are.
    pub fn place(&self) -> &Arc<Place> {
        &self.place
    }
}

fn failed(error: &aya::pin::PinError, path: PathBuf) -> PinError {
    PinError::Pin {
        reason: chain(error),
        path,
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let is_current = self.place.current().as_deref() == Some(&*self.name);
        if self.place.is_leaving() && is_current {
            return;
        }
        if !self.path.exists() {
            return; // `hopzero detach` was here
        }
        let Ok(_locked) = self.place.lock() else {
            return; // the next daemon removes it
        };
        if is_current {
            let _ = fs::remove_file(self.place.directory.join(super::place::CURRENT));
        }
        let _ = remove::generation(&self.path);
    }
}
