//! The command as users run it.

mod daemon;
mod query;
mod serve;
mod stats;
mod usage;
