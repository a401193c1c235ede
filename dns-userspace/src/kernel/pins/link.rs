//! Links that are pinned.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::programs::links::{FdLink, PinnedLink};

use super::{PinError, Place, place::LINKS};
use crate::kernel::{Mode, error::chain};

/// The modes that have links.
const MODES: [Mode; 3] = [Mode::Tcx, Mode::XdpNative, Mode::XdpGeneric];

/// A file that holds a link; removed when this is, unless what is pinned is to stay, or is another daemon's by now.
#[derive(Debug)]
pub(in crate::kernel) struct Pin {
    place: Arc<Place>,
    path: PathBuf,
}

impl Pin {
    /// Pins a link that was made just now.
    ///
    /// # Errors
    /// The file system says no.
    pub fn new(
        place: &Arc<Place>,
        mode: Mode,
        index: u32,
        link: FdLink,
    ) -> Result<(Self, FdLink), PinError> {
        let path = path(place, mode, index);
        match link.pin(&path) {
            Ok(link) => Ok((Self::of(place, path), link.into())),
            Err(error) => Err(PinError::Pin {
                reason: chain(&error),
                path,
            }),
        }
    }

    fn of(place: &Arc<Place>, path: PathBuf) -> Self {
        Pin {
            place: Arc::clone(place),
            path,
        }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if !self.place.is_leaving()
            && let Ok(_locked) = self.place.lock_own()
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What an earlier daemon has left at a device in this mode. Links in the other modes of XDP, which would be in the way, are removed.
pub(in crate::kernel) fn kept(place: &Arc<Place>, mode: Mode, index: u32) -> Option<(Pin, FdLink)> {
    if mode.is_xdp() {
        for other in MODES
            .into_iter()
            .filter(|other| other.is_xdp() && *other != mode)
        {
            let _ = remove(&path(place, other, index));
        }
    }
    let path = path(place, mode, index);
    let link = PinnedLink::from_pin(&path).ok()?;
    Some((Pin::of(place, path), link.into()))
}

/// Removes what an earlier daemon has left at a device in other modes than this one.
pub(in crate::kernel) fn remove_others(place: &Place, mode: Mode, index: u32) {
    for other in MODES.into_iter().filter(|other| *other != mode) {
        let _ = remove(&path(place, other, index));
    }
}

/// Removes a link: whoever comes after this finds the device free, unless another process has it open. (The file alone
/// would be gone before what it stands for is: the kernel leaves that to a worker.)
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match PinnedLink::from_pin(path) {
        Ok(link) => link.unpin().map(drop),
        Err(_) => fs::remove_file(path),
    }
}

fn path(place: &Place, mode: Mode, index: u32) -> PathBuf {
    place
        .directory
        .join(LINKS)
        .join(format!("{}-{index}", mode.label()))
}

/// The device of a link, by the name of its file.
pub(super) fn index_of(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_the_device() {
        let place = Place::at(Path::new("/d"), "/d/net-1".into());
        for (mode, name) in [
            (Mode::Tcx, "tc-7"),
            (Mode::XdpNative, "xdp-7"),
            (Mode::XdpGeneric, "xdp-generic-7"),
        ] {
            let path = path(&place, mode, 7);
            assert_eq!(path, Path::new("/d/net-1/links").join(name));
            assert_eq!(index_of(name), Some(7));
        }
        assert_eq!(index_of("other"), None);
    }
}
