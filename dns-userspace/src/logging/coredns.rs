//! Lines as `CoreDNS` writes them.
//!
//! ```text
//! [ERROR] plugin/errors: 2 example.org. A: i/o timeout
//! [INFO] 10.0.0.1:40212 - 1234 "A IN example.org. udp 40 false 1232" NOERROR qr,rd,ra 56 0.000247s
//! ```

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// The target of the lines of `log`, which are not marked as a plugin's.
pub const QUERIES: &str = "plugin/log";

pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            _ => "DEBUG",
        };
        write!(writer, "[{level}] ")?;
        let target = metadata.target();
        if target.starts_with("plugin/") && target != QUERIES {
            write!(writer, "{target}: ")?;
        }
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
