//! The command as users run it.

mod check_config;
mod daemon;
mod query;
mod serve;
mod stats;
mod usage;
