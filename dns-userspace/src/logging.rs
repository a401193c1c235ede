//! Logs: to standard error, for people or for machines.
//!
//! Standard output belongs to what a command was asked for. Only the form of `CoreDNS` goes there: so does `CoreDNS`, and
//! whoever follows its log reads that.

mod coredns;

use std::{env, sync::OnceLock};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt, reload::Handle, util::SubscriberInitExt};

pub use coredns::QUERIES;

/// Used when neither `--log-level` nor `RUST_LOG` says anything.
const LEVEL_DEFAULT: &str = "info";

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Plain,
    /// One JSON object per event and line.
    Json,
    /// `[INFO] plugin/NAME: …` as `CoreDNS` writes it, on standard output.
    Coredns,
}

/// A level or filter that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error(
        "log filter {filter:?} from {origin}: {reason} (expected a level such as debug, or a list such as info,hopzero::socket=trace)"
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// `--log-level` or `RUST_LOG`.
        origin: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Logs go somewhere already.
    #[error("logging is set up twice")]
    Twice,
}

/// Sends the events of the whole process to standard error. `level` wins over `RUST_LOG`.
///
/// # Errors
///
/// The filter does not parse, or logging is set up already.
pub fn init(format: LogFormat, level: Option<&str>) -> Result<(), LoggingError> {
    let from_environment = env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .filter(|filter| !filter.is_empty());
    let (filter, origin) = match (level, from_environment) {
        (Some(level), _) => (level.to_owned(), "--log-level"),
        (None, Some(filter)) => (filter, "RUST_LOG"),
        (None, None) => (LEVEL_DEFAULT.to_owned(), "the default"),
    };
    let env_filter = EnvFilter::builder()
        .parse(&filter)
        .map_err(|error| LoggingError::Filter {
            reason: error.to_string(),
            filter: filter.clone(),
            origin,
        })?;
    let subscriber = fmt()
        .with_env_filter(env_filter)
        .with_writer(std::io::stderr);
    let done = match format {
        // Colours only where somebody sees them.
        LogFormat::Plain => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let subscriber = subscriber.with_ansi(is_terminal).with_filter_reloading();
            details_by(filter, subscriber.reload_handle());
            subscriber.finish().try_init()
        }
        LogFormat::Json => {
            let subscriber = (subscriber.json().flatten_event(true)).with_filter_reloading();
            details_by(filter, subscriber.reload_handle());
            subscriber.finish().try_init()
        }
        LogFormat::Coredns => {
            let subscriber = (subscriber.with_ansi(false))
                .event_format(coredns::Lines)
                .with_writer(std::io::stdout)
                .with_filter_reloading();
            details_by(filter, subscriber.reload_handle());
            subscriber.finish().try_init()
        }
    };
    done.map_err(|_| LoggingError::Twice)
}

/// Switches details of our own on or off; [`details_by`] says how.
static DETAILS: OnceLock<Box<dyn Fn(bool) + Send + Sync>> = OnceLock::new();

/// Has details logged that are not logged otherwise, or no longer.
pub fn details(on: bool) {
    if let Some(switch) = DETAILS.get() {
        switch(on);
    }
}

fn details_by<S: 'static>(filter: String, handle: Handle<EnvFilter, S>) {
    let switch = move |on: bool| {
        let more = if on {
            ",hopzero=debug,plugin=debug"
        } else {
            ""
        };
        if let Ok(filter) = EnvFilter::try_new(format!("{filter}{more}")) {
            // The subscriber is there as long as the process.
            let _ = handle.reload(filter);
        }
    };
    // Set again only where init() fails.
    let _ = DETAILS.set(Box::new(switch));
}
