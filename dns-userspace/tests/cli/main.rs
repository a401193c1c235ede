//! The command as users run it.

mod corefile;
mod daemon;
mod metrics;
mod query;
mod serve;
mod stats;
mod usage;
