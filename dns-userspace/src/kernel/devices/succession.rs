//! Another table takes over: this daemon's larger one, or another daemon's.

use std::{collections::BTreeSet, mem, path::Path, sync::Arc};

use tracing::{info, warn};

use super::device::State;
use crate::kernel::{
    Kernel, KernelError, Options, attach,
    pins::{Generation, Place},
    probe::Questions,
};

impl Kernel {
    /// Takes the place of another one on each of its devices, which then has none: each packet meets the
    /// programs of one of the two. To be filled, leased and answering before.
    ///
    /// # Errors
    /// The programs cannot be loaded, and the other one is as it was.
    pub fn take_over(&mut self, other: &mut Kernel) -> Result<(), KernelError> {
        for attached in other
            .devices
            .values()
            .filter_map(|device| device.attached.as_ref())
        {
            attach::load_for(&mut self.ebpf, attached.mode)?;
        }
        self.control.set_macs(&other.macs())?;
        self.macs.clone_from(&other.macs);
        self.switches().follow(&other.switches());
        let place = self.place().cloned();
        for (index, mut device) in mem::take(&mut other.devices) {
            if let Some(attached) = device.attached.take() {
                match attached.move_to(&mut self.ebpf, index, place.as_ref()) {
                    Ok(attached) => device.attached = Some(attached),
                    Err(error) => {
                        // It may be gone, as a pod's is.
                        warn!(device = device.name, %error, "no longer attached");
                        device.state = State::Failed;
                    }
                }
            }
            self.devices.insert(index, device);
        }
        Ok(())
    }

    /// Pins maps and programs, which are to answer already: from here on links that are pinned are this daemon's, and each is taken
    /// as its device is attached to.
    ///
    /// # Errors
    /// They cannot be pinned, and links are whose they were.
    pub(in crate::kernel) fn pin(
        &mut self,
        place: &Arc<Place>,
        questions: &Questions,
        options: &Options,
    ) -> Result<(), KernelError> {
        let answers = (self.prober).answers(&mut self.ebpf, questions, &options.answer_for)?;
        if !answers {
            warn!("the kernel answers none of the first names: all of them pass");
        }
        self.pinned = Some(Generation::take(place, &mut self.ebpf, &self.counted)?);
        Ok(())
    }

    /// What is pinned is this table's again, after all.
    ///
    /// # Errors
    /// The file system says no.
    pub(in crate::kernel) fn take_back(&self) -> Result<(), KernelError> {
        if let Some(pinned) = &self.pinned {
            pinned.take_back()?;
        }
        Ok(())
    }

    /// Lets go of all devices: they are another daemon's by now.
    pub(in crate::kernel) fn release(&mut self) {
        self.devices.clear();
    }

    /// Removes what earlier daemons have pinned and nobody uses.
    pub(in crate::kernel) fn sweep(&self, is_settled: bool) {
        let Some(place) = self.place() else {
            return;
        };
        let devices = self.devices.values();
        let held: BTreeSet<&Path> = devices
            .filter_map(|device| device.attached.as_ref()?.pin())
            .collect();
        if let Err(error) = place.sweep(&held, is_settled) {
            info!(%error, "what is left of earlier daemons stays for now");
        }
    }
}
