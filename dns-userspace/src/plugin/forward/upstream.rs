//! One upstream: how it is asked, and whether it is thought to be there.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_proto::rr::{Name, RecordType};

use super::{
    super::Reply,
    counters::{Proto, UpstreamCounters},
    error::ExchangeError,
    message::{self, Query},
    patience::Patience,
    stream::{StreamConfig, Streams},
    tls::Tls,
    udp::{Batch, Lanes},
};

/// What the properties of a directive say about each of its upstreams.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// `source_address`
    pub source: Option<IpAddr>,
    /// `expire`
    pub expire: Duration,
    /// `max_age`
    pub max_age: Option<Duration>,
    /// `max_idle_conns`
    pub max_idle: Option<usize>,
    /// `health_check` and `max_fails`
    pub health: HealthConfig,
}

/// When an upstream is down, and how that is found out.
#[derive(Clone, Debug)]
pub struct HealthConfig {
    /// It is down after more failed checks than this; 0: never.
    pub max_fails: u32,
    /// The pause behind a failed check.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// The name that is asked for.
    pub name: Name,
    /// RD
    pub recursion_desired: bool,
    /// Over TCP.
    pub tcp: bool,
}

/// One upstream.
pub struct Upstream {
    /// What it counts.
    pub counters: Arc<UpstreamCounters>,
    is_tls: bool,
    lanes: Arc<Lanes>,
    streams: Streams,
    /// For health checks, which are to open a connection of their own.
    stream_config: StreamConfig,
    health: HealthConfig,
    fails: AtomicU32,
    is_checked: AtomicBool,
}

impl Upstream {
    /// One that has not failed yet.
    pub fn new(
        to: SocketAddr,
        tls: Option<Tls>,
        config: UpstreamConfig,
        counters: Arc<UpstreamCounters>,
    ) -> Arc<Self> {
        let UpstreamConfig {
            source,
            expire,
            max_age,
            max_idle,
            health,
        } = config;
        let lane_age = max_age.map_or(expire, |max_age| max_age.min(expire));
        let stream_config = StreamConfig {
            to,
            source,
            tls,
            expire,
            max_age,
            max_idle,
        };
        Arc::new(Upstream {
            counters,
            is_tls: stream_config.tls.is_some(),
            lanes: Lanes::new(to, source, lane_age),
            streams: Streams::new(stream_config.clone()),
            stream_config,
            health,
            fails: AtomicU32::new(0),
            is_checked: AtomicBool::new(false),
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.stream_config.to
    }

    /// How it is asked, if the query may go over UDP.
    pub fn proto(&self, udp: bool) -> Proto {
        match (self.is_tls, udp) {
            (true, _) => Proto::Tls,
            (false, true) => Proto::Udp,
            (false, false) => Proto::Tcp,
        }
    }

    /// Its reply.
    pub async fn exchange(
        &self,
        query: &Arc<Query>,
        proto: Proto,
        patience: Patience,
    ) -> Result<Reply, ExchangeError> {
        let begun = Instant::now();
        let is_reused = |is_reused| self.counters.connection(proto, is_reused);
        let message = match proto {
            Proto::Udp => self.lanes.exchange(query, patience, is_reused).await,
            Proto::Tcp | Proto::Tls => self.streams.exchange(query, patience, is_reused).await,
        }?;
        let reply = message::decode(&message)?;
        self.counters.replied(reply.rcode, begun.elapsed());
        Ok(reply)
    }

    /// The same over UDP, sent with a batch; `then` gets the reply.
    pub fn ask_with(
        self: &Arc<Self>,
        batch: &mut Batch,
        query: &Arc<Query>,
        patience: Patience,
        then: impl FnOnce(Result<Reply, ExchangeError>) + Send + 'static,
    ) {
        let begun = Instant::now();
        let upstream = Arc::clone(self);
        let told = move |message: Result<&[u8], ExchangeError>| {
            let reply = message.and_then(|message| Ok(message::decode(message)?));
            if let Ok(reply) = &reply {
                upstream.counters.replied(reply.rcode, begun.elapsed());
            }
            then(reply);
        };
        let is_reused = |is_reused| self.counters.connection(Proto::Udp, is_reused);
        let until = begun + patience.now();
        self.lanes
            .put(query, until, is_reused, batch, Box::new(told));
    }

    /// Whether it is thought not to be there.
    pub fn is_down(&self) -> bool {
        let max = self.health.max_fails;
        max > 0 && self.fails.load(Ordering::Relaxed) > max
    }

    /// Begins to check it, until a check succeeds or nobody else holds it.
    pub fn check(self: &Arc<Self>) {
        if self.health.max_fails == 0 || self.is_checked.swap(true, Ordering::AcqRel) {
            return;
        }
        let upstream = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(upstream) = upstream.upgrade() else {
                    return;
                };
                if upstream.probe().await.is_ok() {
                    upstream.fails.store(0, Ordering::Relaxed);
                    upstream.is_checked.store(false, Ordering::Release);
                    return;
                }
                let fails = upstream.fails.load(Ordering::Relaxed);
                upstream
                    .fails
                    .store(fails.saturating_add(1), Ordering::Relaxed);
                let failures = &upstream.counters.healthcheck_failures;
                failures.fetch_add(1, Ordering::Relaxed);
                let pause = upstream.health.interval;
                drop(upstream);
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Any reply shows that it is there, whatever it says.
    pub async fn probe(&self) -> Result<(), ExchangeError> {
        const IN: u16 = 1;
        let HealthConfig {
            timeout,
            name,
            recursion_desired,
            tcp,
            ..
        } = &self.health;
        let query = Query::question(name, RecordType::NS, IN, *recursion_desired);
        let patience = Patience::once(*timeout);
        match self.proto(!tcp) {
            Proto::Udp => {
                let lanes = Lanes::new(
                    self.stream_config.to,
                    self.stream_config.source,
                    Duration::ZERO,
                );
                lanes.exchange(&Arc::new(query), patience, |_| {}).await?
            }
            Proto::Tcp | Proto::Tls => {
                let streams = Streams::new(self.stream_config.clone());
                streams.exchange(&query, patience, |_| {}).await?
            }
        };
        Ok(())
    }
}
