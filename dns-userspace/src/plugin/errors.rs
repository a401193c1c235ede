//! `errors`: logs what went wrong while a query was answered.
//!
//! ```text
//! errors [stdout] {
//!     stacktrace
//!     consolidate DURATION REGEXP [warning|error|info|debug] [show_first]
//! }
//! ```
//!
//! A line is `RCODE NAME TYPE: ERROR`, the RCODE as a number. Errors that match a `consolidate` are counted, and
//! logged once for each duration that begins with one of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use regex::Regex;
use tracing::Level;

use super::{Builder, Glance, Glanced, Glimpse, Next, Outcome, Plugin, Request, Touch, args};
use crate::corefile::{Directive, Fault};

struct Errors {
    patterns: Vec<Arc<Pattern>>,
}

/// Errors that are told once for each period.
struct Pattern {
    period: Duration,
    regex: Regex,
    level: Level,
    show_first: bool,
    seen: AtomicU64,
}

/// Reads `errors`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    if let Some(file) = directive.at_most_one("`stdout` at most")?
        && file.text != "stdout"
    {
        return Err(file.not("`stdout`"));
    }
    let mut patterns = Vec::new();
    for property in directive.properties() {
        match property.name.text.as_str() {
            // A panic is told with its place in any case.
            "stacktrace" => {
                property.exactly::<0>("no arguments")?;
            }
            "consolidate" => patterns.push(Arc::new(pattern(property)?)),
            _ => return Err(property.unknown_property("errors", &["stacktrace", "consolidate"])),
        }
    }
    builder.plugins.push(Box::new(Errors { patterns }));
    Ok(())
}

fn pattern(property: &Directive) -> Result<Pattern, Fault> {
    let expected = "DURATION REGEXP [warning|error|info|debug] [show_first]";
    let [period, regex, options @ ..] = property.args.as_slice() else {
        return Err(property.wrong_arguments(expected));
    };
    let (mut level, mut show_first) = (None, false);
    for option in options {
        let named = match option.text.as_str() {
            "warning" => Level::WARN,
            "error" => Level::ERROR,
            "info" => Level::INFO,
            "debug" => Level::DEBUG,
            "show_first" => {
                show_first = true;
                continue;
            }
            _ => return Err(option.not("a level, or show_first")),
        };
        if show_first || level.replace(named).is_some() {
            return Err(option.not("one level, before show_first"));
        }
    }
    Ok(Pattern {
        period: period.duration()?,
        regex: regex.regex()?,
        level: level.unwrap_or(Level::ERROR),
        show_first,
        seen: AtomicU64::new(0),
    })
}

#[async_trait]
impl Plugin for Errors {
    fn name(&self) -> &'static str {
        "errors"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let outcome = next.run(request).await;
        if let Err(failure) = &outcome {
            let line = format!(
                "{} {} {}: {}",
                u16::from(failure.rcode),
                request.lower_name(),
                request.rtype,
                failure.error
            );
            let pattern =
                (self.patterns.iter()).find(|pattern| pattern.regex.is_match(&failure.error));
            match pattern {
                Some(pattern) => pattern.note(&line),
                None => tell(Level::ERROR, &line),
            }
        }
        outcome
    }

    fn glance(&self, _query: &Glimpse<'_>, _reply: &mut Glanced<'_>) -> Glance {
        // What is known at once is no failure.
        Glance::Next
    }

    fn touches(&self) -> Vec<Touch> {
        // Nothing goes wrong in the kernel.
        Vec::new()
    }
}

impl Pattern {
    /// Counts an error; the first begins a period, at whose end all are told.
    fn note(self: &Arc<Self>, line: &str) {
        if self.seen.fetch_add(1, Relaxed) > 0 {
            return;
        }
        if self.show_first {
            tell(self.level, line);
        }
        let pattern = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(pattern.period).await;
            let seen = pattern.seen.swap(0, Relaxed);
            if seen > 1 || !pattern.show_first {
                let line = format!(
                    "{seen} errors like '{}' occurred in last {:?}",
                    pattern.regex, pattern.period
                );
                tell(pattern.level, &line);
            }
        });
    }
}

/// The level of an event is part of its place in the program.
fn tell(level: Level, line: &str) {
    const TARGET: &str = "plugin/errors";
    match level {
        Level::ERROR => tracing::error!(target: TARGET, "{line}"),
        Level::WARN => tracing::warn!(target: TARGET, "{line}"),
        Level::INFO => tracing::info!(target: TARGET, "{line}"),
        _ => tracing::debug!(target: TARGET, "{line}"),
    }
}
