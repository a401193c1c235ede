//! The kernel follows the zone: loaded for its size, filled and attached when it is complete, changed
//! name by name from then on.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use hickory_proto::rr::Name;
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::{
    Counters, Kernel, KernelError, Options, Switch, SwitchError, Switched, switch::Switches,
};
use crate::{
    publisher::{Publisher, table::Capacity},
    zone::Zone,
};

/// Names that a table has room for at the least.
const NAMES_MIN: u32 = 4096;
/// Cells for each name of `--names-max`, beyond what is there: an IPv6 PTR takes three.
const CELLS_PER_NAME: u32 = 3;

/// Keeps the kernel's table as the zone is.
pub struct Follower {
    options: Options,
    kernel: Option<Kernel>,
    status: Arc<Status>,
}

/// What others may know of the kernel's part, at any time.
#[derive(Default)]
pub struct Status {
    loaded: OnceLock<(Value, Arc<Counters>, Switches)>,
    names: AtomicU32,
    rejected: AtomicU64,
}

impl Status {
    /// For the control socket; `null` until the programs are attached.
    pub fn report(&self) -> Value {
        let Some((description, counters, switches)) = self.loaded.get() else {
            return Value::Null;
        };
        let mut report = description.clone();
        report["names"] = json!(self.names.load(Ordering::Relaxed));
        report["rejected"] = json!(self.rejected.load(Ordering::Relaxed));
        let off = switches.off();
        report["hooks_off"] = json!(off.hooks);
        report["zones_off"] = json!(off.zones);
        report["counters"] = match counters.read() {
            Ok(counters) => counters
                .into_iter()
                .map(|(reason, packets)| (reason.label().to_owned(), json!(packets)))
                .collect::<Map<_, _>>()
                .into(),
            Err(error) => json!({"error": error.to_string()}),
        };
        report
    }

    /// Switches answering off or on.
    ///
    /// # Errors
    /// There is nothing of that name to be switched.
    pub fn switch(&self, switch: &Switch) -> Result<Switched, SwitchError> {
        let (_, _, switches) = self.loaded.get().ok_or(SwitchError::NotAttached)?;
        switches.set(switch)
    }
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
        })
    }

    /// What the control socket reports.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Follows a batch of changes. Until the zone is complete, nothing is done: what it lacks may
    /// only not have come yet.
    ///
    /// # Errors
    /// Loading or attaching failed, the first time.
    pub fn follow(&mut self, zone: &Zone, touched: &[Name]) -> Result<(), KernelError> {
        if !zone.is_synchronised() {
            return Ok(());
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.publisher.publish(zone, touched);
        } else {
            let mut kernel = Kernel::load(&self.options, capacity(zone, self.options.names_max))?;
            kernel.publisher.publish_all(zone);
            kernel.attach(&self.options)?;
            kernel.renew_lease(self.options.lease)?;
            kernel.answer(true);
            let description = kernel.describe();
            info!(kernel = %description, "answering in the kernel");
            // Set once: there is no kernel before.
            let loaded = (description, kernel.counters(), kernel.switches());
            let _ = self.status.loaded.set(loaded);
            self.kernel = Some(kernel);
        }
        if let Some(kernel) = &self.kernel {
            let publisher = &kernel.publisher;
            self.status
                .names
                .store(publisher.table().names(), Ordering::Relaxed);
            self.status
                .rejected
                .store(publisher.rejected(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Says that what there was to apply is applied: the programs may answer for another lease. To be
    /// called by who calls [`Self::follow`], after it and whenever there is nothing to follow, every
    /// [`super::RENEWED_EVERY`] at the latest.
    pub fn renew(&mut self) {
        if let Some(kernel) = &mut self.kernel
            && let Err(error) = kernel.renew_lease(self.options.lease)
        {
            // Should it last, the lease runs out.
            warn!(%error, "the lease is not renewed");
        }
    }
}

/// Half as much again as the zone needs now, or what was asked for. What does not fit is answered by
/// the socket, and counted.
fn capacity(zone: &Zone, names_max: Option<u32>) -> Capacity {
    let size = Publisher::measure(zone);
    let room = |count: u32| count.saturating_add(count / 2);
    match names_max {
        Some(names) => Capacity::new(
            names,
            names.saturating_mul(CELLS_PER_NAME).max(room(size.cells)),
        ),
        None => Capacity::new(
            room(size.names).max(NAMES_MIN),
            room(size.cells).max(NAMES_MIN * CELLS_PER_NAME),
        ),
    }
}
