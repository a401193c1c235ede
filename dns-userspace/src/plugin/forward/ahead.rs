//! Asking an upstream before the query goes through the plugins ([`glance`](super::super::glance)).
//!
//! The first upstream of the order is asked over UDP, with the other queries of the batch. Whatever comes of it goes
//! with the query to [`Forward::serve`](super::Forward), and counts there as the first attempt: what a reply that is
//! truncated, or none, leads to is decided at one place.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{
    super::Reply,
    Inner, OneOf,
    error::ExchangeError,
    flight::Landing,
    message::Query,
    policy::Order,
    udp::Batch,
    walk::{First, Walked},
};
use crate::socket::{Asked, Transport};

/// A query that can go ahead.
pub struct Ahead {
    flight: Flight,
    order: Order,
}

/// What is taken for as long as the query is under way.
struct Flight {
    forward: Arc<Inner>,
    query: Arc<Query>,
    landing: Landing<Walked>,
    one_of: OneOf,
}

/// What came of a query that went ahead, if one did. A copy of the request is another query, for which none did.
#[derive(Default)]
pub struct Landed(Option<Box<(Flight, First, Instant)>>);

impl Ahead {
    /// None where the query has to wait for another, where more at once are refused, or where an upstream is down or not
    /// asked over UDP.
    pub(super) fn new(
        forward: &Arc<Inner>,
        asked: &Asked<'_>,
        authentic_data: bool,
    ) -> Option<Self> {
        let is_udp = asked.path.transport == Transport::Udp;
        let upstreams = &forward.upstreams;
        if !is_udp || super::is_of_loop(asked.query.rtype) || !upstreams.go_over_udp() {
            return None;
        }
        let query = Query::ahead(&asked.query, authentic_data);
        let landing = forward.flights.begin(&query.key(is_udp))?;
        let one_of = OneOf::enter(forward)?;
        Some(Ahead {
            flight: Flight {
                forward: Arc::clone(forward),
                query: Arc::new(query),
                landing,
                one_of,
            },
            // As the last: who is first in his turn is so once.
            order: upstreams.order(),
        })
    }

    /// Sends it with a batch; `then` gets what comes of it.
    pub fn send(self, batch: &mut Batch, then: impl FnOnce(Landed) + Send + 'static) {
        let Ahead { flight, order } = self;
        let (begun, upstreams) = (Instant::now(), Arc::clone(&flight.forward));
        let upstreams = &upstreams.upstreams;
        let patience = upstreams.patience();
        let query = Arc::clone(&flight.query);
        let then = move |reply: Result<Reply, ExchangeError>| {
            let first = First {
                order,
                patience,
                reply,
            };
            then(Landed(Some(Box::new((flight, first, begun)))));
        };
        let first = &upstreams.all[order.first()];
        first.ask_with(batch, &query, patience, then);
    }
}

impl Landed {
    /// When the query came.
    pub fn begun(&self) -> Option<Instant> {
        self.0.as_ref().map(|landed| landed.2)
    }

    /// What comes of it in the end, if it is an answer to this query.
    pub(super) async fn walk(&mut self, forward: &Arc<Inner>, query: &Query) -> Option<Walked> {
        let is_it = |landed: &mut Box<(Flight, First, Instant)>| {
            Arc::ptr_eq(&landed.0.forward, forward) && *landed.0.query == *query
        };
        let landed = self.0.take_if(is_it)?;
        let (flight, first, _) = *landed;
        let walked = forward
            .upstreams
            .ask(&flight.query, true, Some(first))
            .await;
        flight.landing.land(&walked);
        drop(flight.one_of);
        Some(walked)
    }
}

impl Clone for Landed {
    fn clone(&self) -> Self {
        Landed::default()
    }
}

impl fmt::Debug for Landed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_some() { "Landed" } else { "None" })
    }
}
