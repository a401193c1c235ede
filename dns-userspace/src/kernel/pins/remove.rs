//! What earlier daemons have left, or all of it.

use std::{
    collections::BTreeSet,
    fmt, fs,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use nix::net::if_::{Interface, Interfaces, if_nameindex};
use tracing::info;

use super::{
    PinError, Place,
    link::{self, index_of},
    place::{CURRENT, LINKS, NAMESPACE, NEXT},
};
use crate::kernel::{attach, clsact, local::remove_local_addresses, probe};

/// The beginning of the name of a table's directory.
pub(super) const GENERATION: &str = "layout-";

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files with links.
    pub links: usize,
    /// Directories with maps and programs.
    pub generations: usize,
    /// Filters of clsact, each as device and program.
    pub filters: Vec<String>,
    /// Addresses of `--local-address`.
    pub addresses: usize,
    /// Whether the directory itself is gone.
    pub directory: bool,
    /// Why pins could not be looked for.
    pub not_looked_at: Option<String>,
}

impl Removed {
    /// Whether there was nothing.
    pub fn is_empty(&self) -> bool {
        *self == Removed::default()
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Removed {
            links,
            generations,
            filters,
            addresses,
            directory,
            not_looked_at,
        } = self;
        if let Some(why) = not_looked_at {
            writeln!(f, "pins: not looked at: {why}")?;
        } else {
            writeln!(f, "links: {links}")?;
            writeln!(f, "directories of maps and programs: {generations}")?;
        }
        writeln!(f, "filters of clsact: {}", filters.len())?;
        for filter in filters {
            writeln!(f, "  {filter}")?;
        }
        writeln!(f, "addresses: {addresses}")?;
        if not_looked_at.is_some() {
            return Ok(());
        }
        let directory = if *directory { "removed" } else { "not empty" };
        writeln!(f, "directory: {directory}")
    }
}

impl Place {
    /// Removes what no daemon has any use for: directories that nobody holds, links of devices that are gone, and all that
    /// are not in `held` where nobody is waited for any more.
    pub fn sweep(&self, held: &BTreeSet<&Path>, is_settled: bool) -> Result<Removed, PinError> {
        let _locked = self.lock_own()?;
        let mut removed = Removed::default();
        let own = self.own();
        for (name, path) in entries(&self.directory) {
            if name.starts_with(NEXT) {
                let _ = fs::remove_file(&path);
            } else if name.starts_with(GENERATION)
                && own.as_ref() != Some(&name)
                && !is_alive(&path)
            {
                generation(&path).map_err(PinError::io("remove", &path))?;
                removed.generations += 1;
            }
        }
        let devices = devices()?;
        let there: BTreeSet<u32> = devices.iter().map(Interface::index).collect();
        for (name, path) in entries(&self.directory.join(LINKS)) {
            let is_gone = index_of(&name).is_none_or(|index| !there.contains(&index));
            if !held.contains(&*path) && (is_gone || is_settled) {
                link::remove(&path).map_err(PinError::io("remove", &path))?;
                removed.links += 1;
            }
        }
        if !removed.is_empty() {
            info!(
                links = removed.links,
                generations = removed.generations,
                "what an earlier daemon has pinned is removed"
            );
        }
        Ok(removed)
    }

    /// Removes all of it; an empty directory above, too.
    pub fn remove(&self, removed: &mut Removed) -> Result<(), PinError> {
        let locked = self.lock()?;
        // First of all, so that a daemon that is alive does not think that they are its own.
        let _ = fs::remove_file(self.directory.join(CURRENT));
        for (_, path) in entries(&self.directory.join(LINKS)) {
            link::remove(&path).map_err(PinError::io("remove", &path))?;
            removed.links += 1;
        }
        for (name, path) in entries(&self.directory) {
            if name.starts_with(GENERATION) {
                generation(&path).map_err(PinError::io("remove", &path))?;
                removed.generations += 1;
            } else if name.starts_with(NEXT) {
                let _ = fs::remove_file(&path);
            }
        }
        let _ = fs::remove_dir(self.directory.join(LINKS));
        let gone = fs::remove_dir(&self.directory);
        drop(locked);
        gone.map_err(PinError::io("remove", &self.directory))?;
        // (Not empty, or where the file system is mounted.)
        removed.directory = fs::remove_dir(&self.root).is_ok();
        Ok(())
    }

    /// A table's directory whose daemon is alive.
    fn alive(&self) -> Option<PathBuf> {
        let generations = entries(&self.directory).into_iter();
        let mut generations = generations.filter(|(name, _)| name.starts_with(GENERATION));
        generations
            .find(|(_, path)| is_alive(path))
            .map(|(_, path)| path)
    }
}

/// Removes all that is pinned at a directory, in whatever network namespace it is attached. What is attached goes with the pins, unless
/// a daemon that is alive still has it open.
///
/// # Errors
/// The directory is not on a bpffs; a daemon is alive, without `force`; something cannot be removed.
pub fn unpin(root: &Path, force: bool) -> Result<Removed, PinError> {
    Place::check(root)?;
    let namespaces = entries(root).into_iter();
    let places: Vec<Place> = namespaces
        .filter(|(name, _)| name.starts_with(NAMESPACE))
        .map(|(_, path)| Place::at(root, path))
        .collect();
    if !force && let Some(path) = places.iter().find_map(Place::alive) {
        return Err(PinError::Alive { path });
    }
    let mut removed = Removed::default();
    for place in places {
        place.remove(&mut removed)?;
    }
    removed.directory |= fs::remove_dir(root).is_ok();
    Ok(removed)
}

/// The same, and filters of clsact and addresses of ours in this network namespace. Where no bpffs is mounted these are removed all the
/// same, and it is said that no pins were looked for.
///
/// # Errors
/// Those of [`unpin`] but for that; the kernel refuses.
pub fn detach(root: &Path, force: bool) -> Result<Removed, PinError> {
    let removed = match unpin(root, force) {
        Err(error @ PinError::NotBpffs { .. }) => Removed {
            not_looked_at: Some(error.to_string()),
            ..Removed::default()
        },
        unpinned => unpinned?,
    };
    let node = Path::new("this node");
    Ok(Removed {
        filters: filters()?,
        addresses: remove_local_addresses().map_err(PinError::io("remove addresses of", node))?,
        ..removed
    })
}

/// Those of this network namespace.
fn devices() -> Result<Interfaces, PinError> {
    let devices = Path::new("the network devices");
    (if_nameindex().map_err(io::Error::from)).map_err(PinError::io("list", devices))
}

/// Removes filters of clsact in our place and with our names.
fn filters() -> Result<Vec<String>, PinError> {
    let mut removed = Vec::new();
    for device in &devices()? {
        let name = device.name().to_string_lossy();
        let names = [attach::TC, probe::TAKE];
        let found = clsact::remove_leftovers(&name, device.index(), &names)
            .map_err(PinError::io("remove filters of", Path::new(&*name)))?;
        removed.extend(found.iter().map(|program| format!("{name}: {program}")));
    }
    Ok(removed)
}

/// Removes a table's directory.
pub(super) fn generation(path: &Path) -> io::Result<()> {
    for (_, file) in entries(path) {
        fs::remove_file(file)?;
    }
    fs::remove_dir(path)
}

/// Whether the daemon of a table's directory is alive.
fn is_alive(path: &Path) -> bool {
    let locked = File::open(path).map(|file| file.try_lock());
    matches!(locked, Ok(Err(TryLockError::WouldBlock)))
}

/// Names and paths; none where there is no such directory.
fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}
