//! A directory of pins, as one daemon sees it.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::PinError;

/// How long another daemon may take for a change: it attaches to a device, or removes what is left of others.
const LOCKED_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);
/// What leads to the generation whose the links are.
pub(super) const CURRENT: &str = "current";
/// The same before it is renamed.
pub(super) const NEXT: &str = "next-";
/// The directory of links.
pub(super) const LINKS: &str = "links";
/// The beginning of a network namespace's directory.
pub(super) const NAMESPACE: &str = "net-";
/// Nobody else's.
const MODE: u32 = 0o700;

/// The pins of a network namespace.
#[derive(Debug)]
pub(in crate::kernel) struct Place {
    pub(super) root: PathBuf,
    pub(super) directory: PathBuf,
    /// The generation of this daemon whose the links are, if they are this daemon's.
    own: Mutex<Option<String>>,
    /// What is pinned stays.
    is_leaving: AtomicBool,
    locked: Mutex<Held>,
}

/// The lock, which one thread may take several times.
#[derive(Debug, Default)]
struct Held {
    times: u32,
    file: Option<File>,
}

/// While there is one nobody else changes anything.
#[derive(Debug)]
pub(in crate::kernel) struct Locked<'a>(&'a Place);

impl Place {
    /// Whether something can be pinned there.
    ///
    /// # Errors
    /// It is not on a bpffs.
    pub fn check(root: &Path) -> Result<(), PinError> {
        // What is not there yet will be where its parent is.
        let there = root.ancestors().find(|path| path.exists());
        let there = match there {
            Some(path) if !path.as_os_str().is_empty() => path,
            _ => Path::new("."),
        };
        let system = statfs(there)
            .map_err(io::Error::from)
            .map_err(PinError::io("look at", there))?;
        if system.filesystem_type() == BPF_FS_MAGIC {
            Ok(())
        } else {
            Err(PinError::NotBpffs {
                path: root.to_owned(),
            })
        }
    }

    /// The pins of this thread's network namespace; directories are made.
    ///
    /// # Errors
    /// It is not on a bpffs, or cannot be written to.
    pub fn open(root: &Path) -> Result<Arc<Self>, PinError> {
        Self::check(root)?;
        let namespace = Path::new("/proc/thread-self/ns/net");
        let inode = fs::metadata(namespace).map_err(PinError::io("look at", namespace))?;
        let directory = root.join(format!("{NAMESPACE}{}", inode.ino()));
        Ok(Arc::new(Self::at(root, directory)))
    }

    /// The pins of some network namespace.
    pub(super) fn at(root: &Path, directory: PathBuf) -> Self {
        Place {
            root: root.to_owned(),
            directory,
            own: Mutex::default(),
            is_leaving: AtomicBool::new(false),
            locked: Mutex::default(),
        }
    }

    /// Waits until nobody else changes anything; makes the directories if there are none.
    ///
    /// # Errors
    /// Somebody else does not end.
    pub fn lock(&self) -> Result<Locked<'_>, PinError> {
        let mut held = guard(&self.locked);
        if held.times == 0 {
            held.file = Some(self.lock_directory()?);
        }
        held.times += 1;
        Ok(Locked(self))
    }

    fn lock_directory(&self) -> Result<File, PinError> {
        let started = Instant::now();
        let path = &self.directory;
        loop {
            make(&path.join(LINKS))?;
            let file = File::open(path).map_err(PinError::io("open", path))?;
            match file.try_lock() {
                // `hopzero detach` may have removed it meanwhile.
                Ok(()) if is_at(&file, path) => return Ok(file),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCKED_WITHIN => {
                    thread::sleep(LOOK);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(PinError::Locked { path: path.clone() });
                }
                Err(TryLockError::Error(error)) => return Err(PinError::io("lock", path)(error)),
            }
        }
    }

    /// The lock, if the links are this daemon's.
    ///
    /// # Errors
    /// They are another's, or somebody does not let go of the lock.
    pub fn lock_own(&self) -> Result<Locked<'_>, PinError> {
        if !self.is_ours() {
            return Err(self.taken_over());
        }
        let locked = self.lock()?;
        if self.is_ours() {
            Ok(locked)
        } else {
            Err(self.taken_over())
        }
    }

    fn taken_over(&self) -> PinError {
        PinError::TakenOver {
            path: self.directory.clone(),
        }
    }

    /// Whether the links are this daemon's.
    pub fn is_ours(&self) -> bool {
        let own = guard(&self.own);
        own.is_some() && *own == self.current()
    }

    /// The generation whose the links are.
    pub(in crate::kernel) fn current(&self) -> Option<String> {
        let target = fs::read_link(self.directory.join(CURRENT)).ok()?;
        Some(target.to_str()?.to_owned())
    }

    /// The links are this generation's from now on.
    ///
    /// # Errors
    /// The file system says no.
    pub fn take(&self, generation: &str) -> Result<(), PinError> {
        let _locked = self.lock()?;
        let next = self.directory.join(format!("{NEXT}{generation}"));
        symlink(generation, &next).map_err(PinError::io("create", &next))?;
        let current = self.directory.join(CURRENT);
        fs::rename(&next, &current).map_err(PinError::io("replace", &current))?;
        *guard(&self.own) = Some(generation.to_owned());
        Ok(())
    }

    /// The generation that this daemon took the links for.
    pub(super) fn own(&self) -> Option<String> {
        guard(&self.own).clone()
    }

    /// What is pinned stays from now on.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Whether it stays.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let mut held = guard(&self.0.locked);
        held.times -= 1;
        if held.times == 0 {
            held.file = None;
        }
    }
}

/// Whether a directory is still the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(path)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (file.dev(), file.ino()) == (path.dev(), path.ino())
}

/// Makes a directory and those above it.
pub(super) fn make(path: &Path) -> Result<(), PinError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(MODE).create(path);
    made.map_err(PinError::io("create", path))
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked has left whole values behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_system_is_refused() {
        let elsewhere = tempfile::tempdir().unwrap();
        for path in [elsewhere.path().to_owned(), elsewhere.path().join("a/b")] {
            let error = Place::check(&path).unwrap_err().to_string();
            assert!(error.contains("mount -t bpf"), "{error}");
        }
    }

    #[test]
    fn the_links_are_the_last_ones_who_took_them() {
        // Directories, locks and links of the file system are the same everywhere.
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("net-1");
        let (one, two) = (
            Place::at(root.path(), directory.clone()),
            Place::at(root.path(), directory),
        );
        assert!(!one.is_ours() && one.lock_own().is_err());
        one.take("layout-1-a").unwrap();
        assert!(one.is_ours() && !two.is_ours());
        let (outer, inner) = (one.lock().unwrap(), one.lock_own().unwrap());
        drop(outer);
        let waiting = thread::spawn(move || {
            let started = Instant::now();
            two.take("layout-2-b").unwrap();
            (two.is_ours(), started.elapsed())
        });
        thread::sleep(Duration::from_millis(50));
        assert!(one.is_ours(), "it is locked");
        drop(inner);
        let (is_ours, waited) = waiting.join().unwrap();
        assert!(is_ours && waited >= Duration::from_millis(30));
        assert!(matches!(one.lock_own(), Err(PinError::TakenOver { .. })));
    }
}
