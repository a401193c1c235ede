//! `metadata`: lets plugins tell others what they know of a query.
//!
//! ```text
//! metadata [ZONES...]
//! ```
//!
//! What plugins know is found out where it is asked for, and not before: so it changes nothing by itself, and touches
//! no name.

use super::{Builder, args};
use crate::corefile::{Directive, Fault};

/// Reads `metadata`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.no_block()?;
    builder.zones(&directive.args)?;
    Ok(())
}
