//! Devices are tested, again and again; what does not work takes the next mode.

use std::{
    mem,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::device::{Device, NOT_YET, State, TRIED_AGAIN_AFTER};
use crate::kernel::{
    Kernel, KernelError, Mode, Options, foreign,
    mode::modes,
    probe::{self, Outcome, Questions},
};

/// How long after the last test one of the active devices is tested again, in turn: another agent may have put its program
/// in front of ours.
const TESTED_AGAIN_AFTER: Duration = Duration::from_secs(10);

impl Kernel {
    /// Tests them; each has to be active in some mode, or it cannot be tested.
    ///
    /// # Errors
    /// No mode of a device works.
    pub(in crate::kernel) fn test_all(
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

    /// Does what is due: tests a device, or tries it again. Says whether there was anything to do.
    pub(in crate::kernel) fn do_next(&mut self, options: &Options, questions: &Questions) -> bool {
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
    pub(in crate::kernel) fn is_due(&self) -> bool {
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
        let modes = modes(&device.name, options.hook);
        let at = modes.iter().position(|other| *other == mode);
        let first = at.map_or(modes.len(), |at| at + 1);
        if first >= modes.len() {
            self.devices.insert(device.index, device);
            self.tell_macs();
            return Err(error);
        }
        self.attach_from(device, first, options)
    }
}
