//! What of the kernel's programs, maps and links is there.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use aya::{
    maps::loaded_maps,
    programs::{SchedClassifier, TcAttachType, loaded_links, loaded_programs},
};
use serde_json::Value;

use crate::namespace::Namespace;

/// The kernel frees some of it after a grace period.
const FREED_WITHIN: Duration = Duration::from_secs(3);

/// Programs with all that belongs to them, by the kernel's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps that they use.
    pub maps: BTreeSet<u32>,
    /// Links that attach them.
    pub links: BTreeSet<u32>,
}

impl Loaded {
    /// What is there of `programs`.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn of(programs: &[u32]) -> Result<Self> {
        let mut loaded = Self::default();
        for program in loaded_programs() {
            let Ok(program) = program else {
                continue; // it was unloaded between its number and its description
            };
            if programs.contains(&program.id()) {
                loaded.programs.insert(program.id());
                loaded.maps.extend(program.map_ids()?.unwrap_or_default());
            }
        }
        loaded.links = (loaded_links().flatten())
            .filter(|link| programs.contains(&link.program_id()))
            .map(|link| link.id())
            .collect();
        Ok(loaded)
    }

    /// What of it is still there.
    #[must_use]
    pub fn left(&self) -> Self {
        let programs = loaded_programs().flatten().map(|program| program.id());
        let maps = loaded_maps().flatten().map(|map| map.id());
        let links = loaded_links().flatten().map(|link| link.id());
        Self {
            programs: programs.filter(|id| self.programs.contains(id)).collect(),
            maps: maps.filter(|id| self.maps.contains(id)).collect(),
            links: links.filter(|id| self.links.contains(id)).collect(),
        }
    }

    /// Nothing of it is there any more, or soon.
    ///
    /// # Errors
    /// Something stays.
    pub fn is_gone(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let left = self.left();
            if left == Self::default() {
                return Ok(());
            }
            ensure!(started.elapsed() < FREED_WITHIN, "left behind: {left:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Programs at a device: those of tcx ingress in their order, then that of XDP.
///
/// # Errors
/// There is no such device.
pub fn attached(namespace: &Namespace, device: &str) -> Result<Vec<u32>> {
    let (_, tcx) =
        namespace.within(|| Ok(SchedClassifier::query_tcx(device, TcAttachType::Ingress)?))?;
    let mut programs: Vec<u32> = tcx.iter().map(aya::programs::ProgramInfo::id).collect();
    let link = namespace.exec(&["ip", "-j", "-d", "link", "show", device])?;
    let link: Value = serde_json::from_str(&link)?;
    let xdp = &link[0]["xdp"];
    let single = [xdp["prog"].clone()];
    for program in xdp["attached"].as_array().map_or(&single[..], |all| all) {
        let id = program["id"].as_u64().or(program["prog"]["id"].as_u64());
        programs.extend(id.and_then(|id| u32::try_from(id).ok()));
    }
    Ok(programs)
}
