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
pub mod glance;
pub mod kubernetes;
pub mod metrics;
pub mod prometheus;
pub mod ready;
pub mod reply;
pub mod request;
pub mod sent;
pub mod site;
pub mod table;
pub mod text;
pub mod touch;
pub mod wanted;

pub mod view;

mod acl;
mod any;
mod autopath;
mod bind;
mod bufsize;
mod cache;
mod chaos;
mod debug;
mod dns64;
mod errors;
mod file;
mod header;
mod health;
mod hosts;
mod loadbalance;
mod local;
mod log;
mod loop_;
mod metadata;
mod minimal;
mod multisocket;
mod nsid;
mod reload;
mod rewrite;
mod root;
mod template;
mod timeouts;
mod tls;
mod transfer;
mod whoami;

use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};

use crate::socket::Service;

pub use builder::{Builder, Environment};
pub use glance::{Glance, Glanced, Glimpse};
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

    /// What it knows of a query, by a label such as `kubernetes/namespace`; `None`: not that.
    fn metadata(&self, _sent: &Sent<'_>, _label: &str) -> Option<String> {
        None
    }

    /// Whether it changes the order of the addresses in answers from query to query.
    fn rotates(&self) -> bool {
        false
    }

    /// The names of the cluster, if it answers from them: what the kernel may answer, too.
    fn cluster(&self) -> Option<&Arc<RwLock<Zone>>> {
        None
    }

    /// Answers at once, without a wait and without memory, or says whether those behind it may. Only where that is
    /// the same as [`serve`](Self::serve): who does not say so is in doubt.
    fn glance(&self, _query: &Glimpse<'_>, _reply: &mut Glanced<'_>) -> Glance {
        Glance::InDoubt
    }

    /// A reply that one behind it gave at once goes by: it may be counted, or changed in its place.
    fn glanced(&self, _query: &Glimpse<'_>, _reply: &mut Glanced<'_>) {}

    /// The domains that who asks appends to a name, for `autopath`; `None` if it does not know them.
    fn search_path(&self, _request: &Request) -> Option<Vec<Name>> {
        None
    }

    /// All records of a zone of its own, from SOA to SOA (RFC 5936 section 2.2), for `transfer`; `None` if it has no
    /// such zone.
    fn transfer(&self, _zone: &Name) -> Option<Result<Vec<Record>, Failure>> {
        None
    }

    /// A zone of a plugin behind it is served from now on, or has changed.
    fn changed(&self, _zone: &Name) {}

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
    plugins: &'a Arc<[Box<dyn Plugin>]>,
    /// How many stand before.
    before: usize,
    /// Where the query came in.
    server: Option<&'a dyn Service>,
}

/// Aliases of aliases that are followed through the server, as in `CoreDNS`.
const LOOKUPS_MAX: u8 = 8;

impl<'a> Next<'a> {
    /// All plugins of a block.
    pub fn first(plugins: &'a Arc<[Box<dyn Plugin>]>) -> Self {
        Next {
            plugins,
            before: 0,
            server: None,
        }
    }

    /// The same, of a block of this server.
    #[must_use]
    pub fn at(self, server: &'a dyn Service) -> Self {
        Next {
            server: Some(server),
            ..self
        }
    }

    /// Asks the server, all of its blocks, for another name: the target of an alias. `None` where there is no
    /// answer, or too many aliases led here.
    pub async fn lookup(self, request: &Request, name: Name, rtype: RecordType) -> Option<Reply> {
        let server = self.server?;
        if request.lookups >= LOOKUPS_MAX {
            return None;
        }
        let mut lookup = Request {
            rtype,
            asked: name.clone(),
            name,
            lookups: request.lookups + 1,
            ..request.clone()
        };
        server.resolve(&mut lookup).await
    }

    /// The search path of who asks, if one of the next plugins knows it.
    pub fn search_path(self, request: &Request) -> Option<Vec<Name>> {
        let mut plugins = self.plugins[self.before..].iter();
        plugins.find_map(|plugin| plugin.search_path(request))
    }

    /// All records of a zone, if one of the next plugins has it.
    pub fn transfer(self, zone: &Name) -> Option<Result<Vec<Record>, Failure>> {
        let mut plugins = self.plugins[self.before..].iter();
        plugins.find_map(|plugin| plugin.transfer(zone))
    }

    /// Lets the next plugin answer.
    ///
    /// # Errors
    ///
    /// What it met; that there is none.
    pub async fn run(self, request: &mut Request) -> Outcome {
        let Some(plugin) = self.plugins.get(self.before) else {
            let last = self.plugins.last().map_or("server", |plugin| plugin.name());
            return Err(Failure::new(format_args!(
                "plugin/{last}: no next plugin found"
            )));
        };
        let next = Next {
            before: self.before + 1,
            ..self
        };
        let mut outcome = plugin.serve(request, next).await;
        if let Ok(Served::Reply(reply)) = &mut outcome {
            // Set by the innermost, who wrote it.
            reply.plugin.get_or_insert(plugin.name());
        }
        outcome
    }

    /// The same plugins, for a task of its own.
    pub fn detach(self) -> Behind {
        Behind {
            plugins: Arc::clone(self.plugins),
            before: self.before,
            server: self.server.and_then(Service::handle),
        }
    }
}

/// The plugins behind one of them, for as long as they are needed.
#[derive(Clone)]
pub struct Behind {
    plugins: Arc<[Box<dyn Plugin>]>,
    before: usize,
    server: Option<Arc<dyn Service>>,
}

impl Behind {
    /// To ask them.
    pub fn next(&self) -> Next<'_> {
        Next {
            plugins: &self.plugins,
            before: self.before,
            server: self.server.as_deref(),
        }
    }
}
