//! `timeouts`: how long a client may take over TCP.
//!
//! ```text
//! timeouts {
//!     read DURATION        to send its first query; 10s unless given
//!     write DURATION       to take a reply; 10s
//!     idle DURATION        to send another query; 10s
//!     maxtcpqueries N      queries of one connection; -1, the default, is no limit
//! }
//! ```
//!
//! A DURATION is 1s to 24h. Blocks that share an address share what the last of them says. `CoreDNS` gives a client 3s
//! to send and 5s to take unless told otherwise.

use std::time::Duration;

use super::{Builder, args};
use crate::corefile::{Directive, Fault, Word};

const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// Reads `timeouts`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.exactly::<0>("no arguments")?;
    if directive.properties().is_empty() {
        return Err(Fault::new(
            directive.span(),
            "`timeouts` without any",
            "read, write, idle or maxtcpqueries",
        ));
    }
    for property in directive.properties() {
        let [value] = property.exactly("one value")?;
        let tcp = &mut builder.tcp;
        match property.name.text.as_str() {
            "read" => tcp.read = Some(timeout(value)?),
            "write" => tcp.write = Some(timeout(value)?),
            "idle" => tcp.idle = Some(timeout(value)?),
            "maxtcpqueries" => {
                let expected = "-1, or a number above 0";
                tcp.queries = Some(match value.parse::<i64>(expected)? {
                    -1 => None,
                    number => match usize::try_from(number) {
                        Ok(number) if number > 0 => Some(number),
                        _ => return Err(value.not(expected)),
                    },
                });
            }
            _ => {
                let known = ["read", "write", "idle", "maxtcpqueries"];
                return Err(property.unknown_property("timeouts", &known));
            }
        }
    }
    Ok(())
}

/// Without a unit it is seconds, as in `CoreDNS`.
fn timeout(word: &Word) -> Result<Duration, Fault> {
    let seconds = word.text.parse().map(Duration::from_secs);
    let timeout = seconds.or_else(|_| word.duration())?;
    if (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout) {
        Ok(timeout)
    } else {
        Err(word.not("1s to 24h"))
    }
}
