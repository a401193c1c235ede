//! The devices of a node, and how each is attached to.
//!
//! ```text
//! attach in the first mode ─▶ not tested ─▶ active ─────────── tested again from time to time
//!    ▲       │ refused            │ lost        │ lost
//!    │       ▼                    ▼             ▼
//!    │   the next mode ◀── taken away again ◀───┘         after the last mode: failed, and tried again later
//!    └────────────────────────────────────────────────────────────┘
//! ```
//!
//! What is attached answers from then on; **active** says that a query that was sent through the device has come back
//! ([`super::probe`]). An attachment and a test wait for RCU grace periods, some 16 ms each, so tests come after all attaching.

mod device;
mod selftest;
mod succession;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use serde_json::Value;
use tracing::{info, warn};

pub(super) use device::Device;
use device::{NOT_YET, State};

use super::{
    Hook, Kernel, KernelError, Mode, Options, attach, clsact, foreign,
    links::Pod,
    mode::modes,
    pins::{Generation, Place, remove_others},
    probe,
};

/// Whether it is the same device still. Pods come and go faster than they are attached to.
fn is_there(name: &str, index: u32) -> bool {
    attach::index_of(name).is_ok_and(|now| now == index)
}

impl Kernel {
    /// Attaches to the devices of the command line; each has to take a mode.
    ///
    /// # Errors
    /// The device, the hook, the reason and the remedy.
    pub fn attach(&mut self, options: &Options) -> Result<(), KernelError> {
        for name in &options.devices {
            let index = attach::index_of(name)?;
            self.put(Device::new(name.clone(), index, None), options)?;
        }
        Ok(())
    }

    /// Loads what a pod's device needs first, so that the first pod does not wait for the verifier.
    ///
    /// # Errors
    /// What the verifier says.
    pub(super) fn load_for_pods(&mut self, hook: Hook) -> Result<(), KernelError> {
        if let Some(mode) = modes("", hook).first() {
            attach::load_for(&mut self.ebpf, *mode)?;
        }
        probe::load(&mut self.ebpf)
    }

    /// A pod's device has come, has changed or has gone.
    pub(super) fn follow_pod(&mut self, index: u32, pod: Option<Pod>, options: &Options) {
        let known = self.devices.get_mut(&index);
        if known.as_ref().is_some_and(|known| known.pod.is_none()) {
            return; // it is attached to by name
        }
        let birth = known.and_then(|known| Some(known.pod.as_ref()?.birth));
        match pod {
            Some(pod) if birth == Some(pod.birth) => self.change(index, pod),
            Some(pod) => {
                // If there was another one of its number, what held our program has gone with it.
                self.devices.remove(&index);
                let name = pod.link.name.clone();
                if !is_there(&name, index) {
                    return;
                }
                match self.put(Device::new(name.clone(), index, Some(pod)), options) {
                    Ok(()) => {}
                    Err(error) if is_there(&name, index) => {
                        warn!(%error, "a pod's queries are not answered in the kernel");
                    }
                    // It went meanwhile.
                    Err(_) => drop(self.devices.remove(&index)),
                }
            }
            None => {
                if let Some(gone) = self.devices.remove(&index) {
                    info!(device = gone.name, "detached");
                    self.tell_macs();
                }
            }
        }
    }

    fn change(&mut self, index: u32, pod: Pod) {
        let Some(device) = self.devices.get_mut(&index) else {
            return;
        };
        device.name.clone_from(&pod.link.name);
        let was_up = device.pod.as_ref().is_some_and(|pod| pod.link.is_up);
        let is_untested = matches!(device.state, State::Untested(_));
        if pod.link.is_up && !was_up && is_untested {
            device.state = State::Untested(NOT_YET);
        }
        device.pod = Some(pod);
        let is_tc = (device.attached.as_ref()).is_some_and(|attached| !attached.mode.is_xdp());
        if is_tc {
            device.mac = device.bridge().map(|bridge| (bridge, false));
            self.tell_macs();
        }
    }

    /// Attaches to a new device, in the first mode that it takes.
    fn put(&mut self, device: Device, options: &Options) -> Result<(), KernelError> {
        let names = [attach::TC, probe::TAKE];
        if let Some(place) = self.place() {
            // Whose filter it is is not to be seen: not another daemon's, then.
            drop(place.lock_own()?);
        }
        if let Err(error) = clsact::remove_leftovers(&device.name, device.index, &names) {
            warn!(device = device.name, %error, "whether a filter of ours is left is not known");
        }
        self.attach_from(device, 0, options)
    }

    /// Attaches in the first mode that works from the `first` on; else the device has failed.
    fn attach_from(
        &mut self,
        mut device: Device,
        first: usize,
        options: &Options,
    ) -> Result<(), KernelError> {
        let modes = modes(&device.name, options.hook);
        let mut result = Ok(());
        device.seen = Instant::now();
        for mode in modes.iter().skip(first) {
            match self.attach_in(&mut device, *mode, options) {
                Ok(()) => {
                    device.state = State::Untested(NOT_YET);
                    device.others = foreign::at(&device.name, device.index, &self.program_ids());
                    info!(
                        device = device.name,
                        mode = mode.label(),
                        others = foreign::listed(&device.others),
                        "attached"
                    );
                    self.devices.insert(device.index, device);
                    return Ok(());
                }
                Err(error) => {
                    info!(device = device.name, %error, "trying the next mode");
                    device.refused.push(error.to_string());
                    result = Err(error);
                }
            }
        }
        device.state = State::Failed;
        self.devices.insert(device.index, device);
        self.tell_macs();
        result
    }

    fn attach_in(
        &mut self,
        device: &mut Device,
        mode: Mode,
        options: &Options,
    ) -> Result<(), KernelError> {
        let is_limited = options.limits(&device.name);
        let limited = mode.is_xdp() && is_limited;
        if is_limited && !mode.is_xdp() {
            warn!(
                device = device.name,
                "answers are not limited (--rate-limit) on a device with tc"
            );
        }
        let mac = if mode.is_xdp() {
            Some((attach::mac_of(&device.name)?, limited))
        } else {
            device.bridge().map(|bridge| (bridge, false))
        };
        // First, so that the first packet is answered where another daemon's program has answered the last one.
        let mut macs = self.macs();
        macs.extend(mac);
        self.control.set_macs(&macs)?;
        let place = self.place().cloned();
        let attached = attach::attach(
            &mut self.ebpf,
            &device.name,
            device.index,
            mode,
            place.as_ref(),
        );
        let mut attached = attached.inspect_err(|_| self.tell_macs())?;
        attached.limited = limited;
        if let (Some(pinned), Some(place)) = (&mut self.pinned, &place) {
            pinned.pin_programs(&mut self.ebpf);
            remove_others(place, mode, device.index);
        }
        device.mac = mac;
        device.attached = Some(attached);
        Ok(())
    }

    /// Where links are pinned.
    fn place(&self) -> Option<&Arc<Place>> {
        self.pinned.as_ref().map(Generation::place)
    }

    /// The link-layer addresses that the programs have to know.
    pub(super) fn macs(&self) -> Vec<([u8; 6], bool)> {
        let of_devices = self.devices.values().filter_map(|device| device.mac);
        (self.macs.iter().copied()).chain(of_devices).collect()
    }

    fn tell_macs(&self) {
        if let Err(error) = self.control.set_macs(&self.macs()) {
            // There were fewer before.
            warn!(%error, "the addresses of devices are as before");
        }
    }

    /// Devices, how each is attached to, and whether that works.
    pub(super) fn describe_devices(&self) -> Value {
        let devices = self.devices.values();
        let devices = devices.map(|device| device.describe(self.rate_limit));
        Value::Array(devices.collect())
    }

    fn program_ids(&self) -> BTreeSet<u32> {
        let programs = self.ebpf.programs();
        let ids = programs.filter_map(|(_, program)| Some(program.info().ok()?.id()));
        ids.collect()
    }
}
