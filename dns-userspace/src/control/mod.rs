//! The control socket: whoever connects sends a request on one line, and gets one JSON document and end of
//! file.
//!
//! `"report"` asks for what the daemon says about itself; who sends nothing gets it too
//! (`socat - UNIX:/run/hopzero/control.sock </dev/null`):
//!
//! ```text
//! {"version": "0.1.0", "pid": 4711, "uptime_seconds": 86400, "synchronised": true,
//!  "kernel": null | {"hook": "tc", "devices": ["veth0"], "programs": [{"name": "dns_tc", "id": 7}],
//!                    "counters": {"answered": 12, "not_ours": 3, …}, "names": 450, "capacity": 1000000},
//!  "socket": {"queries": {"udp": 1, "tcp": 0}, "answers": {"NOERROR": 1, …}, "truncated": 0,
//!             "dropped": {"short": 0, …}, "connections": 0}}
//! ```
//!
//! `{"switch": {"on": false, "target": "all" | {"hook": "tc"} | {"zone": "cluster.local"}}}` switches answering in
//! the kernel off or on, and is answered by what is off then, or by why nothing was done:
//!
//! ```text
//! {"done": {"hooks": ["tc"], "zones": ["cluster.local"]}}
//! {"refused": "example.com is not a zone of the kernel's: it knows cluster.local"}
//! ```
//!
//! Only the daemon's own user may connect. A request is a few dozen bytes, and is waited for only a second.

mod client;
mod server;

use serde::{Deserialize, Serialize};

pub use client::{FetchError, fetch, switch};
pub use server::{Control, ControlError};

use crate::{
    kernel::{Switch, Switched},
    socket::SocketSnapshot,
};

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

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A [`Report`].
    Report,
    /// A change of the kernel's switches.
    Switch(Switch),
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To [`Request::Report`].
    Report(Box<Report>),
    /// To [`Request::Switch`], and to what is no request.
    Switch(SwitchReply),
}

/// What came of a [`Switch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchReply {
    /// What is off now.
    Done(Switched),
    /// Why nothing was done.
    Refused(String),
}
