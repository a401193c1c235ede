//! Reading a directory: which files have changed, and what they say now.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use tracing::{error, warn};

use super::{
    cluster::Cluster,
    normal::normalise,
    parse::{self, ParseError},
    walk::{Fingerprint, walk},
};
use crate::source::{Batch, Object};

/// Longest file that is read, bytes. A YAML document needs some ten times its length to be read;
/// a dump of a larger cluster goes into several files.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a file keeps its last good contents.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It can be read, but not understood.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// See [`FILE_BYTES_MAX`].
    #[error("longer than {} MiB: split it", FILE_BYTES_MAX >> 20)]
    TooLong,
}

/// A directory as last read.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// Each file as it was when it was last read, well or badly.
    seen: BTreeMap<PathBuf, Fingerprint>,
    cluster: Cluster,
}

impl Directory {
    /// Nothing read yet.
    pub fn new(root: PathBuf, service_cidrs: Vec<IpNet>) -> Self {
        Self {
            root,
            seen: BTreeMap::new(),
            cluster: Cluster::new(service_cidrs),
        }
    }

    /// The directory's path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads what has changed anywhere below the directory, and `touched` in any case: within the
    /// clock's resolution a file may change twice and look the same.
    pub fn scan(&mut self, touched: &BTreeSet<PathBuf>) -> io::Result<Batch> {
        let tree = walk(&self.root)?;
        for (path, error) in &tree.unreadable {
            error!(directory = %path.display(), %error, "cannot be read: what was in it stays");
        }
        let changed = tree.files.iter().filter(|(path, fingerprint)| {
            touched.contains(*path) || self.seen.get(*path) != Some(fingerprint)
        });
        let mut paths: BTreeSet<PathBuf> = changed.map(|(path, _)| path.clone()).collect();
        let hidden = |path: &Path| tree.unreadable.iter().any(|(dir, _)| path.starts_with(dir));
        let known = self.seen.keys().map(PathBuf::as_path);
        let gone = known
            .chain(self.cluster.files())
            .filter(|path| !tree.files.contains_key(*path) && !hidden(path));
        paths.extend(gone.map(Path::to_owned));
        Ok(self.read(paths))
    }

    /// Reads the given files and nothing else.
    pub fn read(&mut self, paths: BTreeSet<PathBuf>) -> Batch {
        let mut files = Vec::new();
        for path in paths {
            let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file);
            let Some(metadata) = metadata else {
                self.seen.remove(&path);
                files.push((path, Vec::new()));
                continue;
            };
            let fingerprint = Fingerprint::of(&metadata);
            match read_file(&path, fingerprint.bytes()) {
                Ok(objects) => files.push((path.clone(), objects)),
                Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    files.push((path.clone(), Vec::new()));
                }
                Err(error) => {
                    error!(file = %path.display(), %error,
                        "not usable: its last good contents stay");
                }
            }
            self.seen.insert(path, fingerprint);
        }
        self.cluster.replace(files)
    }

    /// Whether a path is that of a file that can be read by itself, since it has been before. What
    /// else there is, and whether a new file is a second way to an old one, only a scan can tell.
    pub fn knows(&self, path: &Path) -> bool {
        self.seen.contains_key(path) && !path.is_dir()
    }
}

fn read_file(path: &Path, bytes: u64) -> Result<Vec<Object>, FileError> {
    if bytes > FILE_BYTES_MAX {
        return Err(FileError::TooLong);
    }
    let mut content = Vec::new();
    // It may have grown since.
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLong);
    }
    let text = parse::utf8(&content)?;
    let json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let mut objects = if json {
        parse::json(text)?
    } else {
        parse::yaml(text)?
    };
    objects.retain_mut(|object| match normalise(object) {
        Ok(()) => true,
        Err(error) => {
            warn!(file = %path.display(), object = %object.key(), %error, "skipped");
            false
        }
    });
    Ok(objects)
}
