//! A zone file that may change.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use hickory_proto::rr::Name;

use super::{load::load, zone::Zone};
use crate::{
    corefile::{Fault, Word},
    plugin::Site,
};

const TARGET: &str = "plugin/file";

/// A file, and the zone that was in it last.
pub(super) struct Followed {
    path: PathBuf,
    origin: Name,
    reload: Duration,
    by_mtime: bool,
    last: RwLock<Last>,
}

#[derive(Default)]
struct Last {
    zone: Option<Arc<Zone>>,
    written: Option<SystemTime>,
}

impl Followed {
    /// Reads the file for the first time. It may come later, if it is looked at again.
    pub(super) fn open(
        path: PathBuf,
        word: &Word,
        origin: &Name,
        reload: Duration,
        by_mtime: bool,
    ) -> Result<Self, Fault> {
        let file = Followed {
            path,
            origin: origin.clone(),
            reload,
            by_mtime,
            last: RwLock::default(),
        };
        match file.written() {
            Ok(written) => {
                let zone = file.load();
                let zone = zone.map_err(|error| Fault::new(word.span, error, "a zone file"))?;
                file.set(zone, written);
            }
            Err(error) if reload.is_zero() => {
                return Err(word.not(&format!("a file that can be read: {error}")));
            }
            Err(error) => tracing::warn!(
                target: TARGET,
                "Failed to open {:?}: {error}: trying again in {reload:?}", word.text
            ),
        }
        Ok(file)
    }

    /// Looks at the file from time to time, as long as somebody uses it.
    pub(super) fn follow(file: &Arc<Self>, site: &Site) {
        let (reload, origin) = (file.reload, file.origin.clone());
        let (file, site) = (Arc::downgrade(file), site.clone());
        if reload.is_zero() {
            return;
        }
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(reload).await;
                let Some(file) = file.upgrade() else { return };
                // It reads, and so may wait for a disk.
                match tokio::task::spawn_blocking(move || file.look()).await {
                    Ok(Ok(None)) => {}
                    Ok(Ok(Some(told))) => {
                        tracing::info!(target: TARGET, "{told}");
                        site.changed(&origin);
                    }
                    Ok(Err(error)) => tracing::error!(target: TARGET, "{error}"),
                    Err(_stopped) => return,
                }
            }
        });
    }

    /// The zone, once there is one.
    pub(super) fn zone(&self) -> Option<Arc<Zone>> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        last.zone.clone()
    }

    /// Reads the file again; what there is to tell. What is wrong with it leaves the zone as it was.
    fn look(&self) -> Result<Option<String>, String> {
        let (origin, path) = (self.origin.to_string(), self.path.display().to_string());
        let written = (self.written())
            .map_err(|error| format!("Failed to open zone {origin:?} in {path:?}: {error}"))?;
        let (serial, before) = {
            let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
            (last.zone.as_ref().map(|zone| zone.serial), last.written)
        };
        if self.by_mtime && before.is_some_and(|before| written <= before) {
            return Ok(None);
        }
        let zone = self.load();
        let zone = zone.map_err(|error| format!("Parsing zone {origin:?}: {error}"))?;
        if !self.by_mtime && Some(zone.serial) == serial {
            return Ok(None);
        }
        let serial = zone.serial;
        self.set(zone, written);
        Ok(Some(format!(
            "Successfully reloaded zone {origin:?} in {path:?} with {serial} SOA serial"
        )))
    }

    fn load(&self) -> Result<Zone, String> {
        let records = load(&self.path, &self.origin)?;
        Zone::new(self.origin.clone(), records)
    }

    fn written(&self) -> io::Result<SystemTime> {
        fs::File::open(&self.path)?.metadata()?.modified()
    }

    fn set(&self, zone: Zone, written: SystemTime) {
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        *last = Last {
            zone: Some(Arc::new(zone)),
            written: Some(written),
        };
    }
}
