//! Finding the manifest files below a directory, and telling whether one has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    /// Moves with permissions as well: what could not be read may be readable now.
    changed: (i64, i64),
}

/// What lies below a directory.
#[derive(Debug, Default)]
pub struct Tree {
    /// Manifest files, in path order.
    pub files: BTreeMap<PathBuf, Fingerprint>,
    /// Directories that could not be read: what is below them is unknown, not gone.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Walks `root`. Symbolic links are followed, each directory is visited once, and hidden entries
/// are left out: an editor's swap files are there, and the several copies that a mounted
/// `ConfigMap` keeps of its files.
pub fn walk(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::default();
    let mut seen = BTreeSet::new();
    let metadata = fs::metadata(root)?;
    seen.insert((metadata.dev(), metadata.ino()));
    let entries = fs::read_dir(root)?;
    let mut pending: Vec<PathBuf> = children(root, entries, &mut tree);
    while let Some(path) = pending.pop() {
        // Gone between the listing and now, or a link to nothing or to itself: no file.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            // The same directory by two ways would be every object twice, and a loop would not end.
            if !seen.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            match fs::read_dir(&path) {
                Ok(entries) => pending.extend(children(&path, entries, &mut tree)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tree.unreadable.push((path, error)),
            }
        } else if metadata.is_file() && is_manifest(&path) {
            tree.files.insert(path, Fingerprint::of(&metadata));
        }
    }
    Ok(tree)
}

/// Whether a path is named as a manifest is.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json")) && !is_hidden(path)
}

/// Whether the last component begins with a dot.
fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The visible entries of a directory, last first, so that they are popped in order: which of two
/// ways to one directory counts must not depend on the file system's order.
fn children(directory: &Path, entries: fs::ReadDir, tree: &mut Tree) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => tree.unreadable.push((directory.to_owned(), error)),
        }
    }
    paths.retain(|path| !is_hidden(path));
    paths.sort_unstable_by(|a, b| b.cmp(a));
    paths
}

impl Fingerprint {
    /// The fingerprint of a file, following links.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The length of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn finds_manifests_once_and_survives_loops() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        fs::create_dir_all(root.join("a/deep")).expect("made");
        fs::create_dir_all(root.join(".git")).expect("made");
        for file in [
            "z.yml",
            "a/deep/x.json",
            "a/notes.txt",
            ".git/c.yaml",
            ".s.yaml",
        ] {
            fs::write(root.join(file), "").expect("written");
        }
        symlink("..", root.join("a/up")).expect("linked");
        symlink("self.yaml", root.join("self.yaml")).expect("linked");
        symlink("a", root.join("b")).expect("linked");
        symlink("nowhere", root.join("gone.yaml")).expect("linked");
        symlink("z.yml", root.join("link.yaml")).expect("linked");
        let tree = walk(root).expect("walks");
        let files: Vec<_> = tree
            .files
            .keys()
            .map(|path| path.strip_prefix(root).expect("below").to_owned())
            .collect();
        let expected = ["a/deep/x.json", "link.yaml", "z.yml"];
        assert_eq!(files, expected.map(PathBuf::from));
    }
}
