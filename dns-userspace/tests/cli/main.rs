//! The command as users run it.

mod check_config;
mod cluster;
mod corefile;
mod daemon;
mod metrics;
mod query;
mod serve;
mod stats;
mod status;
mod tls;
mod usage;
