//! `reload`: a configuration that has changed takes over by itself.
//!
//! ```text
//! reload [INTERVAL] [JITTER]     30s and 15s unless given; JITTER 0 is none
//! ```
//!
//! The interval is moved by up to half of the jitter, so that not all nodes of a cluster reload at once. How it is done is
//! the daemon's business.

use std::time::Duration;

use rand::RngExt as _;

use super::{Builder, args};
use crate::corefile::{Directive, Fault};

const INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
const INTERVAL_MIN: Duration = Duration::from_secs(2);
const JITTER_DEFAULT: Duration = Duration::from_secs(15);
const JITTER_MIN: Duration = Duration::from_secs(1);

/// Reads `reload`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.no_block()?;
    let (interval, jitter) = match directive.args.as_slice() {
        [] => (None, None),
        [interval] => (Some(interval), None),
        [interval, jitter] => (Some(interval), Some(jitter)),
        _ => return Err(directive.wrong_arguments("[INTERVAL] [JITTER]")),
    };
    let duration = |word: Option<&crate::corefile::Word>, default| {
        word.map_or(Ok(default), crate::corefile::Word::duration)
    };
    let (every, around) = (
        duration(interval, INTERVAL_DEFAULT)?,
        duration(jitter, JITTER_DEFAULT)?,
    );
    if let Some(word) = interval
        && every < INTERVAL_MIN
    {
        return Err(word.not("2s or more"));
    }
    if let Some(word) = jitter
        && !around.is_zero()
        && around < JITTER_MIN
    {
        return Err(word.not("0s, or 1s or more"));
    }
    let around = around.min(every / 2);
    let moved = rand::rng().random_range(0.0..1.0);
    builder.wanted.reload = Some(every.saturating_sub(around / 2) + around.mul_f64(moved));
    Ok(())
}
