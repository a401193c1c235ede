//! The hopzero daemon as a library: each module is one stage of the flow of data and knows only
//! the next.
//!
//! ```text
//! source → state → zone → publisher → BPF maps → programs (dns-ebpf)
//!                    ↘ socket
//! ```

pub mod cli;
pub mod control;
pub mod corefile;
pub mod http;
pub mod kernel;
pub mod logging;
pub mod plugin;
pub mod publisher;
pub mod sandbox;
pub mod server;
pub mod socket;
pub mod source;
pub mod state;
pub mod tls;
pub mod wire;
pub mod zone;
