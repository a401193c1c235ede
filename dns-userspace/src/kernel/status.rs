//! What others may know of the kernel's part, at any time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hopzero_common::reason::Reason;
use serde_json::{Map, Value, json};

use super::{
    Counters, Kernel, KernelError,
    counters::Counts,
    switch::{Switch, SwitchError, Switched, Switches},
    tally::Tally,
};
use crate::plugin::prometheus::{self, Answered, Owners};

/// What the control socket reports.
#[derive(Default)]
pub struct Status(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    loaded: Option<Loaded>,
    figures: Figures,
    /// Until when the programs answer, if nobody renews that.
    lease_until: Option<Instant>,
    tally: Tally,
}

/// The programs that answer.
struct Loaded {
    description: Value,
    counters: Arc<Counters>,
    switches: Switches,
    /// What those before them have counted.
    before: Vec<(Reason, u64)>,
}

/// Numbers that change, from the start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Names with an entry.
    pub names: u32,
    /// Names that did not fit.
    pub rejected: u64,
    /// Batches that became visible as one step.
    pub flips: u64,
    /// Those for which there was no room.
    pub builds_failed: u64,
    /// Larger tables that were made.
    pub growths: u64,
    /// Larger tables that could not be made.
    pub growths_failed: u64,
}

impl Status {
    /// For the control socket; `null` until the programs are attached.
    pub fn report(&self) -> Value {
        let inner = self.lock();
        let Some(loaded) = &inner.loaded else {
            return Value::Null;
        };
        let mut report = loaded.description.clone();
        let figures = inner.figures;
        report["names"] = json!(figures.names);
        report["rejected"] = json!(figures.rejected);
        report["flips"] = json!(figures.flips);
        report["builds_failed"] = json!(figures.builds_failed);
        report["growths"] = json!(figures.growths);
        report["growths_failed"] = json!(figures.growths_failed);
        // Each larger table, and each step of many changes, has the programs turn to another index.
        report["generation"] = json!(1 + figures.flips + figures.growths);
        let left = (inner.lease_until).map(|until| until.saturating_duration_since(Instant::now()));
        report["lease_seconds"] = json!(left.unwrap_or_default().as_secs_f64());
        let off = loaded.switches.off();
        report["hooks_off"] = json!(off.hooks);
        report["zones_off"] = json!(off.zones);
        report["counters"] = match loaded.counters.read() {
            Ok(counts) => loaded
                .sums(&counts)
                .into_iter()
                .map(|(reason, packets)| (reason.label().to_owned(), json!(packets)))
                .collect::<Map<_, _>>()
                .into(),
            Err(error) => json!({"error": error.to_string()}),
        };
        report
    }

    /// These programs answer from now on; those before them no longer count.
    pub(super) fn loaded(&self, kernel: &Kernel) -> Result<(), KernelError> {
        let mut inner = self.lock();
        let switches = kernel.switches();
        let (counts, before) = match &inner.loaded {
            Some(loaded) => {
                // Again: there may have been a switch since they were taken over.
                switches.follow(&loaded.switches);
                let counts = loaded.counters.read()?;
                let before = loaded.sums(&counts);
                (counts, before)
            }
            None => Default::default(),
        };
        inner.tally.load(kernel.zones(), &counts);
        inner.loaded = Some(Loaded {
            description: kernel.describe(),
            counters: kernel.counters(),
            switches,
            before,
        });
        Ok(())
    }

    /// To whom answers belong from now on, where metrics count them.
    pub(super) fn own(&self, owners: Owners) {
        let mut inner = self.lock();
        let now = inner.counts();
        inner.tally.own(owners, &now);
    }

    /// Devices have come or gone, or their state has changed.
    pub(super) fn changed(&self, kernel: &Kernel) {
        if let Some(loaded) = &mut self.lock().loaded {
            loaded.description = kernel.describe();
        }
    }

    /// Switches answering off or on.
    ///
    /// # Errors
    /// There is nothing of that name to be switched.
    pub fn switch(&self, switch: &Switch) -> Result<Switched, SwitchError> {
        let inner = self.lock();
        let loaded = inner.loaded.as_ref().ok_or(SwitchError::NotAttached)?;
        loaded.switches.set(switch)
    }

    /// The programs answer for another `lease`.
    pub(super) fn renewed(&self, lease: Duration) {
        self.lock().lease_until = Some(Instant::now() + lease);
    }

    pub(super) fn figures(&self, figures: Figures) {
        self.lock().figures = figures;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked has left whole values behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl prometheus::Kernel for Status {
    fn answered(&self) -> Vec<Answered> {
        let inner = self.lock();
        inner.tally.answered(&inner.counts())
    }

    fn report(&self) -> Value {
        Status::report(self)
    }
}

impl Inner {
    /// What the present programs have counted. Should the kernel not say, nothing new: metrics then are a little late.
    fn counts(&self) -> Counts {
        let read = self.loaded.as_ref().map(|loaded| loaded.counters.read());
        match read {
            Some(Ok(counts)) => counts,
            Some(Err(_)) => self.tally.settled_counts().clone(),
            None => Counts::default(),
        }
    }
}

impl Loaded {
    /// Packets by reason since the start, those of the programs before included.
    fn sums(&self, counts: &Counts) -> Vec<(Reason, u64)> {
        let mut sums = counts.by_reason();
        for ((_, sum), (_, before)) in sums.iter_mut().zip(&self.before) {
            *sum += before;
        }
        sums
    }
}
