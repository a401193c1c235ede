//! The kernel follows the zone: loaded for its size, filled and attached when it is complete, changed
//! name by name from then on, or as one step where many names change.
//!
//! # Growing
//!
//! Maps have a fixed size. When the table is full, a larger one is made beside it, with programs of its own,
//! and is filled from the zone; then its programs take the place of the old ones at each device. Until then the
//! old table answers what it can: names without room pass. If the larger table cannot be made, it stays so, and it
//! is tried again after [`GROWN_AGAIN_AFTER`].

mod capacity;
mod pins;

use std::{
    collections::BTreeMap,
    mem,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{Kernel, KernelError, Options, Pod, Status, probe::Questions, status::Figures};
use crate::{
    plugin::prometheus::Owners,
    publisher::table::Capacity,
    zone::{OwnerName, Zone},
};
use capacity::{capacity, larger};
use pins::Pins;

/// Between two attempts to make a larger table: each costs what a start does, a second or two of a large
/// cluster's node.
const GROWN_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Keeps the kernel's table as the zone is.
pub struct Follower {
    options: Options,
    kernel: Option<Kernel>,
    status: Arc<Status>,
    /// Figures of tables that are gone.
    before: Figures,
    growth_failed: Option<Instant>,
    /// The table is another zone's.
    turned: bool,
    /// Pods' devices that came before there was anything to attach.
    pods: BTreeMap<u32, Pod>,
    /// What tests ask.
    questions: Questions,
    pins: Pins,
}

impl Follower {
    /// Checks what can be checked before the zone is complete.
    ///
    /// # Errors
    /// What is missing, and the remedy.
    pub fn new(options: Options) -> Result<Self, KernelError> {
        Kernel::check(&options)?;
        Ok(Follower {
            options,
            kernel: None,
            status: Arc::default(),
            before: Figures::default(),
            growth_failed: None,
            turned: false,
            pods: BTreeMap::new(),
            questions: Questions::default(),
            pins: Pins::default(),
        })
    }

    /// What the control socket reports.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Follows a batch of changes, or none: what could not be done is tried again. Until the zone is complete, nothing
    /// is done: what it lacks may only not have come yet.
    ///
    /// # Errors
    /// Loading or attaching failed, the first time.
    pub fn follow(&mut self, zone: &Zone, touched: &[OwnerName]) -> Result<(), KernelError> {
        if !zone.is_synchronised() {
            return Ok(());
        }
        match self.kernel.take() {
            Some(kernel) if self.turned => self.kernel = Some(self.turn_to(kernel, zone)),
            Some(kernel) => self.kernel = Some(self.change(kernel, zone, touched)),
            None => {
                self.questions = Questions::of(zone);
                self.kernel = Some(self.start(zone)?);
                for (index, pod) in mem::take(&mut self.pods) {
                    self.follow_pod(index, Some(pod));
                    self.renew();
                }
            }
        }
        self.report();
        Ok(())
    }

    /// Another zone is followed from now on, or none: everything passes until the next [`Self::follow`] has put that one's
    /// names into a table of its own.
    pub fn turn(&mut self) {
        if let Some(kernel) = &self.kernel {
            kernel.answer(false);
            self.turned = true;
        }
    }

    /// Whether addresses are rotated from now on.
    pub fn rotate(&mut self, on: bool) {
        self.options.rotate = on;
        if let Some(kernel) = &self.kernel {
            kernel.rotate(on);
        }
    }

    /// To whom the kernel's answers belong from now on, where metrics count them.
    pub fn own(&self, owners: Owners) {
        self.status.own(owners);
    }

    /// Queries to these addresses are answered from now on.
    pub fn answer_for(&mut self, addresses: Vec<IpAddr>) {
        if let Some(kernel) = &mut self.kernel
            && let Err(error) = kernel.answer_for(&self.options.answer_for, &addresses)
        {
            warn!(%error, "queries to some addresses are not answered in the kernel");
        }
        self.options.answer_for = addresses;
    }

    /// A pod's device has come, has changed, or has gone.
    pub fn follow_pod(&mut self, index: u32, pod: Option<Pod>) {
        let Some(kernel) = &mut self.kernel else {
            match pod {
                Some(pod) => self.pods.insert(index, pod),
                None => self.pods.remove(&index),
            };
            return;
        };
        if self.pins.are_taken_over() {
            return;
        }
        kernel.follow_pod(index, pod, &self.options);
        self.status.changed(kernel);
    }

    /// Tests a device that is to be tested, or tries one again on which nothing works.
    pub fn test(&mut self) {
        if let Some(kernel) = &mut self.kernel
            && !self.pins.are_taken_over()
            && kernel.do_next(&self.options, &self.questions)
        {
            self.status.changed(kernel);
        }
    }

    /// Whether there is something to test at once.
    pub fn has_to_test(&self) -> bool {
        !self.pins.are_taken_over() && self.kernel.as_ref().is_some_and(Kernel::is_due)
    }

    /// Says that what there was to apply is applied: the programs may answer for another lease. To be
    /// called by who calls [`Self::follow`], after it and whenever there is nothing to follow, every
    /// [`super::RENEWED_EVERY`] at the latest.
    pub fn renew(&mut self) {
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        match kernel.renew_lease(self.options.lease) {
            Ok(()) => self.status.renewed(self.options.lease),
            // Should it last, the lease runs out.
            Err(error) => warn!(%error, "the lease is not renewed"),
        }
        if self.pins.look(kernel) {
            self.status.changed(kernel);
        }
    }

    /// All of it is there, and answers, before anything is attached: what is pinned is another daemon's until then.
    fn start(&mut self, zone: &Zone) -> Result<Kernel, KernelError> {
        let wanted = capacity(zone, self.options.names_max);
        let mut kernel = Kernel::load(&self.options, wanted)?;
        kernel.publisher.publish_all(zone);
        if kernel.publisher.rejected() > 0 && self.may_grow() {
            // By bad luck some buckets are full. A larger table, with another seed, while nobody asks yet.
            kernel = Kernel::load(&self.options, larger(wanted, wanted))?;
            kernel.publisher.publish_all(zone);
            info!(
                rejected = kernel.publisher.rejected(),
                "a larger table was made in its place"
            );
        }
        kernel.renew_lease(self.options.lease)?;
        kernel.answer(true);
        self.pins
            .begin(&mut kernel, &self.questions, &self.options)?;
        kernel.attach(&self.options)?;
        if self.options.pods.is_some() {
            kernel.load_for_pods(self.options.hook)?;
        }
        kernel.renew_lease(self.options.lease)?;
        kernel.test_all(&self.options, &self.questions)?;
        self.status.loaded(&kernel)?;
        info!(kernel = %kernel.describe(), "answering in the kernel");
        Ok(kernel)
    }

    /// Publishes a change, into a larger table if need be.
    fn change(&mut self, mut kernel: Kernel, zone: &Zone, touched: &[OwnerName]) -> Kernel {
        let lease = self.options.lease;
        let (publisher, mut progress) = kernel.publishing(lease, &self.status);
        let result = publisher.try_publish(zone, touched, &mut progress);
        let is_full = result.is_err() || publisher.rejected() > 0;
        drop(progress);
        if is_full && self.may_grow() {
            match self.grow(&mut kernel, zone) {
                // It has the whole zone.
                Ok(larger) => return larger,
                Err(error) => {
                    warn!(%error, again_after_seconds = GROWN_AGAIN_AFTER.as_secs(),
                        "the kernel's table is full, and a larger one cannot be made");
                    self.before.growths_failed += 1;
                    self.growth_failed = Some(Instant::now());
                }
            }
        }
        if result.is_err() {
            // Not as one step then, rather than not at all.
            let (publisher, mut progress) = kernel.publishing(lease, &self.status);
            publisher.publish_each(zone, touched, &mut progress);
        }
        kernel
    }

    /// The names of another zone, in a table of their own.
    fn turn_to(&mut self, mut kernel: Kernel, zone: &Zone) -> Kernel {
        if self.growth_failed_lately() {
            return kernel;
        }
        let started = Instant::now();
        match self.succeed(&mut kernel, zone, capacity(zone, self.options.names_max)) {
            Ok(other) => {
                self.turned = false;
                self.questions = Questions::of(zone);
                info!(kernel = %other.describe(), seconds = started.elapsed().as_secs_f32(),
                    "answering from another zone");
                other
            }
            Err(error) => {
                warn!(%error, again_after_seconds = GROWN_AGAIN_AFTER.as_secs(),
                    "the kernel does not answer: the configuration has another zone, for which no table can be made");
                self.growth_failed = Some(Instant::now());
                kernel
            }
        }
    }

    /// A bound is a bound; and what has failed is not tried all the time.
    fn may_grow(&self) -> bool {
        self.options.names_max.is_none() && !self.growth_failed_lately()
    }

    fn growth_failed_lately(&self) -> bool {
        (self.growth_failed).is_some_and(|at| at.elapsed() < GROWN_AGAIN_AFTER)
    }

    /// A larger table with the whole zone, which answers in place of `kernel`.
    fn grow(&mut self, kernel: &mut Kernel, zone: &Zone) -> Result<Kernel, KernelError> {
        let started = Instant::now();
        let now = kernel.publisher.table().capacity();
        let capacity = larger(capacity(zone, None), now);
        if capacity == now {
            return Err(KernelError::Largest { names: now.names });
        }
        let grown = self.succeed(kernel, zone, capacity)?;
        self.before.growths += 1;
        info!(kernel = %grown.describe(), seconds = started.elapsed().as_secs_f32(),
            "the table was full: answering from a larger one");
        Ok(grown)
    }

    /// Another table with the whole zone, which answers in place of `kernel`.
    fn succeed(
        &mut self,
        kernel: &mut Kernel,
        zone: &Zone,
        capacity: Capacity,
    ) -> Result<Kernel, KernelError> {
        let lease = self.options.lease;
        let (_, mut progress) = kernel.publishing(lease, &self.status);
        progress();
        let mut other = Kernel::load(&self.options, capacity)?;
        progress();
        other.publisher.publish_all_with(zone, &mut progress);
        drop(progress);
        other.renew_lease(lease)?;
        other.answer(true);
        self.pins
            .succeed(&mut other, kernel, &self.questions, &self.options)?;
        // What the old programs count is final when none of them runs any more.
        if let Err(error) = kernel.publisher.wait_for_programs() {
            warn!(%error, "cannot wait for the programs: a few packets may not be counted");
        }
        if let Err(error) = self.status.loaded(&other) {
            warn!(%error, "the programs before have counted in vain");
        }
        self.before = self.figures(kernel);
        self.growth_failed = None;
        Ok(other)
    }

    fn report(&self) {
        if let Some(kernel) = &self.kernel {
            self.status.figures(self.figures(kernel));
        }
    }

    fn figures(&self, kernel: &Kernel) -> Figures {
        let (before, builds) = (self.before, kernel.publisher.builds());
        Figures {
            names: kernel.publisher.table().names(),
            rejected: before.rejected + kernel.publisher.rejected(),
            flips: before.flips + builds.flipped,
            builds_failed: before.builds_failed + builds.failed,
            ..before
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.pins.end(self.kernel.take(), &self.options);
    }
}
