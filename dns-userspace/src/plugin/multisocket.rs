//! `multisocket`: how many UDP sockets an address has.
//!
//! ```text
//! multisocket [N]     1 to 1024; as many as there are cores unless given
//! ```
//!
//! hopzero has a socket for each core in any case.

use super::{Builder, args};
use crate::corefile::{Directive, Fault};

const SOCKETS_MAX: usize = 1024;

/// Reads `multisocket`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.no_block()?;
    if let Some(word) = directive.at_most_one("a number of sockets at most")? {
        let sockets = word.parse("1 to 1024 sockets")?;
        if !(1..=SOCKETS_MAX).contains(&sockets) {
            return Err(word.not("1 to 1024 sockets"));
        }
        builder.udp_sockets = Some(sockets);
    }
    Ok(())
}
