//! The control socket: whoever connects sends a request on one line, and gets one JSON document and end of
//! file.
//!
//! `"report"` asks for what the daemon says about itself; who sends nothing gets it too
//! (`socat - UNIX:/run/hopzero/control.sock </dev/null`):
//!
//! ```text
//! {"version": "0.1.0", "pid": 4711, "uptime_seconds": 86400, "synchronised": true,
//!  "cluster": {"objects": {"namespaces": 3, "services": 9, …}, "changed_unix": 1767225600, "watches": […]},
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
    source::cluster::WatchReport,
    state::Counts,
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
    /// What is known of the cluster.
    #[serde(default)]
    pub cluster: ClusterReport,
    /// What is attached, and what it counts; absent where only the socket serves.
    pub kernel: Option<serde_json::Value>,
    /// What the socket server counts.
    pub socket: SocketSnapshot,
}

/// What is known of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// What is kept of it.
    pub objects: Counts,
    /// When it last changed, Unix time: the serial of the zones. 0 before the first change.
    pub changed_unix: u32,
    /// The watches at its API server; none where it comes from manifests.
    pub watches: Vec<WatchReport>,
}

impl ClusterReport {
    /// How old what is known may be: since the API server last spoke on the most silent watch. None for manifests, and until
    /// each watch has been heard.
    pub fn age_seconds(&self) -> Option<f64> {
        let ages = self.watches.iter().map(|watch| watch.age_seconds);
        let ages: Option<Vec<f64>> = ages.collect();
        ages?.into_iter().reduce(f64::max)
    }
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
