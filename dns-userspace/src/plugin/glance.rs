//! Answering at a glance: a query and its reply as bytes, before anything is made of them.
//!
//! ```text
//! errors ──▶ loadbalance ──▶ cache        glance: Next, Next, Answered
//! errors ◀── loadbalance ◀─────┘          glanced: the reply goes by, to be counted and turned
//! ```
//!
//! The way through [`Plugin::serve`] makes names, records and futures for every query. Most queries need none of it:
//! the cache has the bytes of the reply. So all plugins are first asked in their order what they make of the query
//! as it stands; the first that is in doubt ends that, nothing has happened, and the query goes through all of them
//! again in the ordinary way.
//!
//! # Ahead
//!
//! What nobody knows costs a wait, and a task that waits costs more than the question. So where all plugins before
//! `forward` would ask it just what the client asks, the question goes to an upstream first, with those of the other queries
//! that came at the same time; the ordinary way begins when the reply is there, and finds it in the request
//! ([`Landed`]). It has nothing to wait for then, unless the reply is not what one hopes for.
//!
//! ```text
//! errors ──▶ cache ──▶ loop ──▶ forward   glance: Next, Behind, Next, Ahead
//!                                  └──▶ upstream ──▶ serve, of all of them, with the reply
//! ```
//!
//! [`Plugin::serve`]: super::Plugin::serve
//! [`Landed`]: super::forward::Landed

use std::{sync::Arc, time::Duration};

use hickory_proto::{op::ResponseCode, rr::Name};
use tokio::time::Instant;

use super::forward::Ahead;
use crate::socket::{Addresses, Asked};

/// What a plugin makes of a query at a glance.
pub enum Glance {
    /// It has nothing to do with it, but for what it does when the reply goes by: the next is asked.
    Next,
    /// It will ask the next what the client asks, and has to see the reply.
    Behind {
        /// With AD, whatever the client set.
        authentic_data: bool,
    },
    /// An upstream can be asked: nothing that those before it do could change the question.
    Ahead(Ahead),
    /// The reply is written.
    Answered,
    /// Only [`serve`](super::Plugin::serve) can tell.
    InDoubt,
}

/// A well-formed query of class IN, and the server block that it is for.
#[derive(Clone, Copy)]
pub struct Glimpse<'a> {
    /// The query, and where it came in.
    pub asked: &'a Asked<'a>,
    /// When it came in.
    pub begun: Instant,
    /// The zone of the server block.
    pub zone: &'a Name,
    /// The server, as metrics name it.
    pub server: &'a Arc<str>,
    /// The view of the server block.
    pub view: &'a Arc<str>,
    /// Those behind are asked with AD.
    pub authentic_data: bool,
}

impl Glimpse<'_> {
    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A reply that is given at once.
pub struct Glanced<'a> {
    /// The whole message; whoever answers clears it first.
    pub message: &'a mut Vec<u8>,
    /// Its RCODE.
    pub rcode: ResponseCode,
    /// The addresses in it that may stand in any order.
    pub addresses: Option<Addresses>,
    /// Who answered.
    pub plugin: &'static str,
}
