//! The control socket: whoever connects gets one JSON document about the daemon, and end of file.
//!
//! ```text
//! {"version": "0.1.0", "pid": 4711, "uptime_seconds": 86400, "synchronised": true,
//!  "kernel": null | {"hook": "tc", "devices": ["veth0"], "programs": [{"name": "dns_tc", "id": 7}],
//!                    "counters": {"answered": 12, "not_ours": 3, …}, "names": 450, "capacity": 1000000},
//!  "socket": {"queries": {"udp": 1, "tcp": 0}, "answers": {"NOERROR": 1, …}, "truncated": 0,
//!             "dropped": {"short": 0, …}, "connections": 0}}
//! ```
//!
//! Nothing is read from the client: there is nothing to parse, and nothing that it can change.

mod client;
mod server;

use serde::{Deserialize, Serialize};

pub use client::{FetchError, fetch};
pub use server::{Control, ControlError};

use crate::socket::SocketSnapshot;

/// Where the daemon's control socket is unless `--control` says otherwise.
pub const PATH_DEFAULT: &str = "/run/hopzero/control.sock";

/// What the daemon says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of the daemon, which may be another than the one of who asks.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Since its start.
    pub uptime_seconds: u64,
    /// Whether the zone is complete, and in the kernel if it is to answer.
    pub synchronised: bool,
    /// What is attached, and what it counts; absent where only the socket serves.
    pub kernel: Option<serde_json::Value>,
    /// What the socket server counts.
    pub socket: SocketSnapshot,
}
