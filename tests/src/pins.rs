//! A directory of a test's own on the bpffs, for `--pin`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use hopzero::kernel;

use crate::cleanup::{self, Cleanup};

/// Where file systems of this kind are mounted.
pub const BPFFS: &str = "/sys/fs/bpf";
static NEXT: AtomicU32 = AtomicU32::new(0);
static STALE: Once = Once::new();

/// A directory that is not there yet; what is pinned there goes when this value does.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    _cleanup: Cleanup,
}

impl Default for Pins {
    fn default() -> Self {
        Self::new()
    }
}

impl Pins {
    /// Another one each time.
    pub fn new() -> Self {
        STALE.call_once(|| {
            for path in cleanup::stale(Path::new(BPFFS)) {
                let _ = kernel::unpin(&path, true);
            }
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(BPFFS).join(format!("{}{number}", cleanup::prefix()));
        let removed = path.clone();
        Self {
            path,
            _cleanup: Cleanup::new(move || {
                let _ = kernel::unpin(&removed, true);
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as an argument.
    pub fn argument(&self) -> String {
        self.path.display().to_string()
    }

    /// Every path below, without the directory's own.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn files(&self) -> Result<BTreeSet<String>> {
        let found = files(&self.path)?;
        let own = format!("{}/", self.argument());
        Ok(found
            .into_iter()
            .map(|path| path.trim_start_matches(&own).to_owned())
            .collect())
    }

    /// Directories of tables: by name, and where.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn generations(&self) -> Result<Vec<PathBuf>> {
        self.below("/layout-")
    }

    /// Files of links.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn links(&self) -> Result<Vec<PathBuf>> {
        self.below("/links/")
    }

    /// The directory of the one network namespace.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn namespace(&self) -> Result<PathBuf> {
        let all: Vec<_> = fs::read_dir(&self.path)?.collect::<Result<_, _>>()?;
        ensure!(all.len() == 1, "{all:?}");
        Ok(all[0].path())
    }

    /// Exactly one table, whose the links are, and so many links; nothing that is half done.
    ///
    /// # Errors
    /// It is otherwise.
    pub fn are_one_set(&self, links: usize) -> Result<()> {
        let (files, generations) = (self.files()?, self.generations()?);
        ensure!(generations.len() == 1, "{files:?}");
        let current = fs::read_link(self.namespace()?.join("current"))?;
        ensure!(
            generations[0].file_name() == current.file_name(),
            "{files:?}"
        );
        ensure!(self.links()?.len() == links, "{files:?}");
        ensure!(!files.iter().any(|file| file.contains("next")), "{files:?}");
        for map in ["INDEX", "CELLS", "CONTROL", "COUNTERS", "hopzero_tc"] {
            ensure!(generations[0].join(map).exists(), "no {map}: {files:?}");
        }
        Ok(())
    }

    /// The numbers of the programs that the links run.
    ///
    /// # Errors
    /// A link cannot be opened.
    pub fn running(&self) -> Result<BTreeSet<u32>> {
        let links = self.links()?.into_iter();
        links
            .map(|path| {
                Ok(FdLink::from(PinnedLink::from_pin(path)?)
                    .info()?
                    .program_id())
            })
            .collect()
    }

    fn below(&self, part: &str) -> Result<Vec<PathBuf>> {
        let all = files(&self.path)?.into_iter();
        let found = all.filter(|path| {
            path.rsplit_once(part)
                .is_some_and(|(_, name)| !name.contains('/'))
        });
        Ok(found.map(PathBuf::from).collect())
    }
}

/// Every path below.
///
/// # Errors
/// A directory cannot be read.
pub fn files(directory: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry?;
        found.insert(entry.path().display().to_string());
        if entry.file_type()?.is_dir() {
            found.append(&mut files(&entry.path())?);
        }
    }
    Ok(found)
}
