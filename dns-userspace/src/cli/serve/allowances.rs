//! What the kernel may answer, as it changes: with the configuration, and when a plugin touches other names than before.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tokio::sync::watch;

use crate::{
    plugin::Environment,
    server::{Allowance, Servers},
    zone::Zone,
};

/// The latest is what counts; `None` is nothing.
#[derive(Clone)]
pub(in crate::cli) struct Allowances(Arc<Inner>);

struct Inner {
    answer_for: Mutex<Vec<IpAddr>>,
    serving: Mutex<Option<Serving>>,
    latest: watch::Sender<Option<Allowance>>,
}

/// What is served, and all zones that its plugins answer from.
struct Serving {
    servers: Arc<Servers>,
    clusters: Vec<Arc<RwLock<Zone>>>,
}

impl Allowances {
    /// The same at all times.
    pub fn always(allowance: Allowance) -> Self {
        Self::new(Vec::new(), Some(allowance))
    }

    /// What servers say that answer queries to these addresses.
    pub fn of_servers(
        servers: Arc<Servers>,
        environment: &Environment,
        answer_for: Vec<IpAddr>,
    ) -> Self {
        let mut changes = environment.touches_changed().subscribe();
        let allowances = Self::new(answer_for, None);
        allowances.serve(servers, environment.clusters());
        let renewed = allowances.clone();
        tokio::spawn(async move {
            // Until no plugin is left that could say so.
            while changes.changed().await.is_ok() {
                renewed.renew();
            }
        });
        allowances
    }

    fn new(answer_for: Vec<IpAddr>, allowance: Option<Allowance>) -> Self {
        Allowances(Arc::new(Inner {
            answer_for: Mutex::new(answer_for),
            serving: Mutex::default(),
            latest: watch::Sender::new(allowance),
        }))
    }

    /// Other servers from now on. The kernel follows soon, and answers as before until then: each query is answered as of
    /// before or after.
    pub fn serve(&self, servers: Arc<Servers>, clusters: Vec<Arc<RwLock<Zone>>>) {
        let mut serving = (self.0.serving.lock()).unwrap_or_else(PoisonError::into_inner);
        *serving = Some(Serving { servers, clusters });
        drop(serving);
        self.renew();
    }

    /// Queries to other addresses are answered from now on.
    pub fn answer_for(&self, addresses: Vec<IpAddr>) {
        let mut answer_for = (self.0.answer_for.lock()).unwrap_or_else(PoisonError::into_inner);
        *answer_for = addresses;
        drop(answer_for);
        self.renew();
    }

    /// Nothing is answered from now on, until other servers are known.
    pub fn withdraw(&self) {
        let mut serving = (self.0.serving.lock()).unwrap_or_else(PoisonError::into_inner);
        *serving = None;
        self.0.latest.send_replace(None);
    }

    /// Asks the servers again.
    fn renew(&self) {
        let serving = (self.0.serving.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some(Serving { servers, clusters }) = &*serving {
            let answer_for = (self.0.answer_for.lock()).unwrap_or_else(PoisonError::into_inner);
            let allowance = servers.allowance(clusters, &answer_for);
            self.0.latest.send_replace(allowance);
        }
    }

    /// Learns of the present one first, and then of each change.
    pub fn subscribe(&self) -> watch::Receiver<Option<Allowance>> {
        let mut receiver = self.0.latest.subscribe();
        receiver.mark_changed();
        receiver
    }
}
