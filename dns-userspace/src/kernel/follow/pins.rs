//! What is pinned follows the table; and is let go of when another daemon has taken it over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::warn;

use crate::kernel::{
    Kernel, KernelError, Options,
    pins::{LEFT_FOR, Place, Removed},
    probe::Questions,
};

/// How often it is looked for what is left of others.
const SWEPT_EVERY: Duration = Duration::from_secs(10);

/// What is pinned, with `--pin`.
#[derive(Default)]
pub(super) struct Pins {
    place: Option<Arc<Place>>,
    taken: Option<Instant>,
    swept: Option<Instant>,
    taken_over: bool,
}

impl Pins {
    /// Pins a table that answers; links that are pinned are this daemon's from here on.
    pub fn begin(
        &mut self,
        kernel: &mut Kernel,
        questions: &Questions,
        options: &Options,
    ) -> Result<(), KernelError> {
        let Some(root) = &options.pin else {
            return Ok(());
        };
        let place = Place::open(root)?;
        kernel.pin(&place, questions, options)?;
        self.place = Some(place);
        self.taken = Some(Instant::now());
        kernel.sweep(false);
        Ok(())
    }

    /// Another table of this daemon takes the place of the one before.
    pub fn succeed(
        &self,
        other: &mut Kernel,
        before: &mut Kernel,
        questions: &Questions,
        options: &Options,
    ) -> Result<(), KernelError> {
        let Some(place) = self.place.as_ref().filter(|_| !self.taken_over) else {
            return other.take_over(before);
        };
        let _locked = place.lock_own()?;
        other.pin(place, questions, options)?;
        other.take_over(before).inspect_err(|_| {
            // As it was: else this daemon would find that the links are nobody's.
            if let Err(error) = before.take_back() {
                warn!(%error, "the larger table was not taken, and the links are no longer this daemon's");
            }
        })
    }

    /// Whether another daemon has what was pinned.
    pub fn are_taken_over(&self) -> bool {
        self.taken_over
    }

    /// Looks whether another daemon has it, and for what others have left. Says whether devices were let go of.
    pub fn look(&mut self, kernel: &mut Kernel) -> bool {
        let Some(place) = self.place.as_ref().filter(|_| !self.taken_over) else {
            return false;
        };
        if !place.is_ours() {
            warn!(
                "another daemon has taken over what is pinned: this one attaches to nothing any more"
            );
            self.taken_over = true;
            kernel.release();
            return true;
        }
        if self.swept.is_none_or(|at| at.elapsed() >= SWEPT_EVERY) {
            self.swept = Some(Instant::now());
            let is_settled = self.taken.is_some_and(|at| at.elapsed() >= LEFT_FOR);
            kernel.sweep(is_settled);
        }
        false
    }

    /// The daemon ends: what is pinned stays, and passes when the lease is over; or it goes.
    pub fn end(&mut self, kernel: Option<Kernel>, options: &Options) {
        let Some(place) = &self.place else {
            return;
        };
        if !options.detach_on_exit || !place.is_ours() {
            place.leave();
            return drop(kernel);
        }
        let Ok(locked) = place.lock_own() else {
            return;
        };
        drop(kernel);
        if let Err(error) = place.remove(&mut Removed::default()) {
            warn!(%error, "something that is pinned is left: `hopzero detach` removes it");
        }
        drop(locked);
    }
}
