//! One query's way along the upstreams, until one of them says something.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use hickory_proto::op::ResponseCode;
use rand::RngExt as _;

use super::{
    super::Reply,
    counters::{ForwardCounters, Proto},
    error::ExchangeError,
    message::Query,
    patience::Patience,
    policy::{Order, Policy},
    upstream::Upstream,
};

/// The upstreams of a directive, and how they are tried.
pub struct Upstreams {
    /// At least one, at most 15.
    pub all: Vec<Arc<Upstream>>,
    /// `policy`
    pub policy: Policy,
    /// `force_tcp`
    pub force_tcp: bool,
    /// `prefer_udp`
    pub prefer_udp: bool,
    /// `max_connect_attempts`; `None`: as many as there is time for.
    pub attempts_max: Option<usize>,
    /// `failfast_all_unhealthy_upstreams`
    pub fail_fast: bool,
    /// `failover`
    pub failover: Vec<ResponseCode>,
    /// `read_timeout`
    pub read_timeout: Duration,
    /// For all attempts together.
    pub total_timeout: Duration,
    /// What the directive counts.
    pub counters: Arc<ForwardCounters>,
}

/// An attempt that was made before.
pub struct First {
    /// It was the first of these.
    pub order: Order,
    /// For all attempts.
    pub patience: Patience,
    /// What came of it.
    pub reply: Result<Reply, ExchangeError>,
}

/// What came of it, for all who asked the same.
pub type Walked = Result<Arc<Reply>, Arc<str>>;

impl Upstreams {
    /// Asks one after the other, in the order of the policy, those left out that are down. An attempt that fails
    /// has the upstream checked. The first attempt may have been made already.
    pub async fn ask(&self, query: &Arc<Query>, client_udp: bool, first: Option<First>) -> Walked {
        let (order, patience, mut made) = match first {
            Some(first) => (first.order, first.patience, Some(first.reply)),
            None => (self.order(), self.patience(), None),
        };
        let (mut down, mut attempts, mut failovers) = (0, 0, 0);
        let mut last: Option<ExchangeError> = None;
        for (at, index) in order.iter().enumerate().cycle() {
            let is_made = made.is_some();
            if !is_made
                && (patience.is_over() || self.attempts_max.is_some_and(|max| attempts >= max))
            {
                break;
            }
            if at == 0 {
                down = 0;
            }
            let mut upstream = &self.all[index];
            if !is_made && upstream.is_down() {
                down += 1;
                if down < self.all.len() {
                    continue;
                }
                self.counters.healthcheck_broken.fetch_add(1, Relaxed);
                if self.fail_fast {
                    break;
                }
                // Rather the checks are wrong than all of the upstreams.
                upstream = &self.all[rand::rng().random_range(0..self.all.len())];
            }
            let reply = match made.take() {
                Some(Ok(reply)) => {
                    self.whole(upstream, query, client_udp, patience, reply)
                        .await
                }
                Some(Err(error)) => Err(error),
                // Boxed, as it is large: most queries have been asked ahead, and come with a reply.
                None => Box::pin(self.ask_one(upstream, query, client_udp, patience)).await,
            };
            match reply {
                Ok(mut reply) => {
                    if self.failover.contains(&reply.rcode) {
                        failovers += 1;
                        if failovers < self.all.len() {
                            continue;
                        }
                    }
                    reply.upstream = Some(upstream.address());
                    return Ok(Arc::new(reply));
                }
                Err(error) => {
                    upstream.check();
                    attempts += 1;
                    last = Some(error);
                    if down >= self.all.len() {
                        break;
                    }
                }
            }
        }
        Err(match last {
            Some(error) => error.to_string().into(),
            None => "no healthy proxies".into(),
        })
    }

    /// How long one query waits.
    pub fn patience(&self) -> Patience {
        Patience {
            step: self.read_timeout,
            until: Instant::now() + self.total_timeout,
        }
    }

    /// Whether a query of a client over UDP goes over UDP to whichever is first.
    pub fn go_over_udp(&self) -> bool {
        let mut all = self.all.iter();
        let is_asked =
            |upstream: &Arc<Upstream>| upstream.proto(true) == Proto::Udp && !upstream.is_down();
        !self.force_tcp && all.all(is_asked)
    }

    /// In which they are asked for one query.
    pub fn order(&self) -> Order {
        self.policy.order(self.all.len())
    }

    /// One upstream.
    async fn ask_one(
        &self,
        upstream: &Arc<Upstream>,
        query: &Arc<Query>,
        client_udp: bool,
        patience: Patience,
    ) -> Result<Reply, ExchangeError> {
        let udp = !self.force_tcp && (self.prefer_udp || client_udp);
        let proto = upstream.proto(udp);
        let reply = upstream.exchange(query, proto, patience).await?;
        match proto {
            Proto::Udp => {
                self.whole(upstream, query, client_udp, patience, reply)
                    .await
            }
            Proto::Tcp | Proto::Tls => Ok(reply),
        }
    }

    /// A reply over UDP; where that is truncated the one over TCP. If that fails, a client over UDP gets the truncated
    /// reply, and may see for itself.
    async fn whole(
        &self,
        upstream: &Arc<Upstream>,
        query: &Arc<Query>,
        client_udp: bool,
        patience: Patience,
        reply: Reply,
    ) -> Result<Reply, ExchangeError> {
        if !reply.flags.truncated {
            return Ok(reply);
        }
        match Box::pin(upstream.exchange(query, Proto::Tcp, patience)).await {
            Err(_) if client_udp => Ok(reply),
            whole => whole,
        }
    }
}
