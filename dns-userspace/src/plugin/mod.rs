//! The plugins of a server block, and how a query goes through them.
//!
//! ```text
//! query ──▶ errors ──▶ cache ──▶ kubernetes ──▶ forward
//! reply ◀── errors ◀── cache ◀── kubernetes ◀──────┘       each sees the reply of those behind it
//! ```
//!
//! The order is `CoreDNS`'s, not the file's ([`table`]). A plugin answers, or asks those behind it
//! ([`Next`]) and may change what they say. Each one also says which names it could change, refuse
//! or record ([`Plugin::touches`]): these the kernel leaves to the socket.
//!
//! To add a plugin: a file here with its `setup`, and a line in [`table`].

pub mod args;
pub mod builder;
pub mod clusters;
pub mod forward;
pub mod metrics;
pub mod prometheus;
pub mod ready;
pub mod reply;
pub mod request;
pub mod sent;
pub mod site;
pub mod table;
pub mod touch;
pub mod wanted;

mod bind;
mod debug;
mod errors;
mod health;
mod kubernetes;
mod log;
mod loop_;
mod reload;
mod root;
mod whoami;

use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;

pub use builder::{Builder, Environment};
pub use reply::Reply;
pub use request::Request;
pub use sent::Sent;
pub use site::Site;
pub use touch::Touch;

use crate::zone::Zone;

/// One plugin of a server block.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Its directive.
    fn name(&self) -> &'static str;

    /// Answers the query, or lets `next` do it.
    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome;

    /// The names whose answers it could change, refuse or record, if it stands ahead of the plugin that
    /// answers.
    fn touches(&self) -> Vec<Touch>;

    /// Whether it can answer, for `ready`.
    fn is_ready(&self) -> bool {
        true
    }

    /// A query is done with: to count or log it.
    fn sent(&self, _sent: &Sent<'_>) {}
    /// Whether it changes the order of the addresses in answers from query to query.
    fn rotates(&self) -> bool {
        false
    }

    /// The names of the cluster, if it answers from them: what the kernel may answer, too.
    fn cluster(&self) -> Option<&Arc<RwLock<Zone>>> {
        None
    }

    /// Begins what it does without being asked, once the sockets of its server block are bound. Called where the
    /// block is first served.
    fn start(&self, _site: &Site) {}
}

/// What came of a query.
pub type Outcome = Result<Served, Failure>;

/// What is done about a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Served {
    /// This is sent.
    Reply(Reply),
    /// Nothing is sent.
    Silence,
}

impl From<Reply> for Served {
    fn from(reply: Reply) -> Self {
        Served::Reply(reply)
    }
}

/// A query that could not be answered: the client gets a bare `rcode`, and `errors` logs `error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// SERVFAIL, or REFUSED.
    pub rcode: ResponseCode,
    /// Why.
    pub error: String,
}

impl Failure {
    /// SERVFAIL, because of `error`.
    pub fn new(error: impl std::fmt::Display) -> Self {
        Failure {
            rcode: ResponseCode::ServFail,
            error: error.to_string(),
        }
    }
}

/// The plugins behind the one that holds it.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    plugins: &'a [Box<dyn Plugin>],
    /// Who asks.
    before: &'static str,
}

impl<'a> Next<'a> {
    /// All plugins of a block.
    pub fn first(plugins: &'a [Box<dyn Plugin>]) -> Self {
        Next {
            plugins,
            before: "server",
        }
    }

    /// Lets the next plugin answer.
    ///
    /// # Errors
    ///
    /// What it met; that there is none.
    pub async fn run(self, request: &mut Request) -> Outcome {
        let Some((plugin, behind)) = self.plugins.split_first() else {
            return Err(Failure::new(format_args!(
                "plugin/{}: no next plugin found",
                self.before
            )));
        };
        let next = Next {
            plugins: behind,
            before: plugin.name(),
        };
        let mut outcome = plugin.serve(request, next).await;
        if let Ok(Served::Reply(reply)) = &mut outcome {
            // Set by the innermost, who wrote it.
            reply.plugin.get_or_insert(plugin.name());
        }
        outcome
    }
}
