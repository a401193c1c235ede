//! `debug`: details are logged, and a panic in a plugin ends the daemon instead of being SERVFAIL. Both are so in all
//! server blocks, if one of them says it.
//!
//! ```text
//! debug
//! ```

use super::Builder;
use crate::corefile::{Directive, Fault};

/// Reads `debug`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    for directive in directives {
        directive.exactly::<0>("no arguments")?;
        directive.no_block()?;
    }
    builder.wanted.debug = true;
    Ok(())
}
