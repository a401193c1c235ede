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

use std::{
    collections::BTreeSet,
    mem,
    time::{Duration, Instant},
};

use serde_json::Value;
use tracing::{info, warn};

pub(super) use device::Device;
use device::{NOT_YET, State, TRIED_AGAIN_AFTER};

use super::{
    Hook, Kernel, KernelError, Mode, Options, attach, clsact, foreign,
    links::Pod,
    probe::{self, Outcome, Questions},
};

/// How long after the last test one of the active devices is tested again, in turn: another agent may have put its program
/// in front of ours.
const TESTED_AGAIN_AFTER: Duration = Duration::from_secs(10);

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
        if let Some(mode) = attach::modes("", hook).first() {
            attach::load_for(&mut self.ebpf, *mode)?;
        }
        probe::load(&mut self.ebpf)
    }

    /// Tests them; each has to be active in some mode, or it cannot be tested.
    ///
    /// # Errors
    /// No mode of a device works.
    pub(super) fn test_all(
        &mut self,
        options: &Options,
        questions: &Questions,
    ) -> Result<(), KernelError> {
        let is_new = |device: &&Device| device.state == State::Untested(NOT_YET);
        while let Some(index) = (self.devices.values())
            .find(is_new)
            .map(|device| device.index)
        {
            self.test(index, options, questions)?;
        }
        Ok(())
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
        let modes = attach::modes(&device.name, options.hook);
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
        let mut attached = attach::attach(&mut self.ebpf, &device.name, device.index, mode)?;
        let is_limited = options.limits(&device.name);
        attached.limited = mode.is_xdp() && is_limited;
        if is_limited && !mode.is_xdp() {
            warn!(
                device = device.name,
                "answers are not limited (--rate-limit) on a device with tc"
            );
        }
        let mac = if mode.is_xdp() {
            Some((attach::mac_of(&device.name)?, attached.limited))
        } else {
            device.bridge().map(|bridge| (bridge, false))
        };
        let mut macs = self.macs();
        macs.extend(mac);
        self.control.set_macs(&macs)?;
        device.mac = mac;
        device.attached = Some(attached);
        Ok(())
    }

    /// Does what is due: tests a device, or tries it again. Says whether there was anything to do.
    pub(super) fn do_next(&mut self, options: &Options, questions: &Questions) -> bool {
        let urgent = (self.devices.values())
            .filter_map(|device| Some((device.urgency()?, device.seen, device.index)))
            .min();
        let index = match urgent {
            Some((_, _, index)) => index,
            None if self.tested.elapsed() < TESTED_AGAIN_AFTER => return false,
            None => {
                let active = self.devices.values();
                let active = active.filter(|device| device.state == State::Active);
                match active.min_by_key(|device| device.seen) {
                    Some(device) => device.index,
                    None => return false,
                }
            }
        };
        if let Err(error) = self.test(index, options, questions) {
            warn!(%error, again_after_seconds = TRIED_AGAIN_AFTER.as_secs(),
                "queries at this device are not answered in the kernel");
        }
        true
    }

    /// Whether there is something to do at once.
    pub(super) fn is_due(&self) -> bool {
        self.devices
            .values()
            .any(|device| device.urgency().is_some())
    }

    /// Tests a device; if its answer is lost, the next mode is taken. One that has failed is tried from the first mode on.
    fn test(
        &mut self,
        index: u32,
        options: &Options,
        questions: &Questions,
    ) -> Result<(), KernelError> {
        let Some(mut device) = self.devices.remove(&index) else {
            return Ok(());
        };
        self.tested = Instant::now();
        device.seen = self.tested;
        let Some(attached) = &device.attached else {
            device.refused.clear();
            return self.attach_from(device, 0, options);
        };
        let mode = attached.mode;
        let subject = probe::Device {
            name: &device.name,
            index,
            mode,
            bridge: device.bridge(),
        };
        let outcome = (self.prober).test(&mut self.ebpf, &subject, questions, &options.answer_for);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                warn!(device = device.name, %error, "the device cannot be tested");
                Outcome::Untested("the kernel makes no test")
            }
        };
        let was = mem::replace(&mut device.state, State::Failed);
        match outcome {
            Outcome::Answered => {
                device.state = State::Active;
                if was != State::Active {
                    info!(
                        device = device.name,
                        mode = mode.label(),
                        "active: a query has come back"
                    );
                }
            }
            Outcome::Untested(why) => {
                device.state = State::Untested(why);
                if was != device.state {
                    info!(device = device.name, mode = mode.label(), why, "not tested");
                }
            }
            Outcome::Lost(why) => return self.lost(device, mode, why, options),
        }
        self.devices.insert(index, device);
        Ok(())
    }

    fn lost(
        &mut self,
        mut device: Device,
        mode: Mode,
        why: &'static str,
        options: &Options,
    ) -> Result<(), KernelError> {
        device.others = foreign::at(&device.name, device.index, &self.program_ids());
        let reason = if device.others.is_empty() {
            why.to_owned()
        } else {
            format!("{why} (there: {})", foreign::listed(&device.others))
        };
        let error = KernelError::Lost {
            device: device.name.clone(),
            hook: mode.label(),
            reason,
            remedy: "other agents' programs are left alone: use --hook auto, or let ours run first",
        };
        warn!(%error, "detached: trying the next mode");
        device.attached = None;
        device.mac = None;
        device.refused.push(error.to_string());
        let modes = attach::modes(&device.name, options.hook);
        let at = modes.iter().position(|other| *other == mode);
        let first = at.map_or(modes.len(), |at| at + 1);
        if first >= modes.len() {
            self.devices.insert(device.index, device);
            self.tell_macs();
            return Err(error);
        }
        self.attach_from(device, first, options)
    }

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
        for (index, mut device) in mem::take(&mut other.devices) {
            if let Some(attached) = device.attached.take() {
                match attached.move_to(&mut self.ebpf, index) {
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
