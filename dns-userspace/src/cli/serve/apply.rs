//! The thread that applies changes: to the zones, and to the kernel, which follows one of them.

use std::{
    net::IpAddr,
    sync::{Arc, RwLock, RwLockReadGuard},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use crate::{
    kernel::{Changes, Follower, Pod, RENEWED_EVERY},
    plugin::{
        clusters::Clusters,
        kubernetes::{Programming, Triggers},
    },
    server::Allowance,
    source::Batch,
    zone::{Kept, OwnerName, Zone},
};

/// What there is to do.
enum Step {
    Apply(Batch),
    /// The kernel may answer something else, or nothing.
    Allow(Option<Allowance>),
    /// A pod's device has come, has changed or has gone.
    Pod(u32, Option<Pod>),
    /// Queries to these addresses are answered.
    AnswerFor(Vec<IpAddr>),
    /// Devices are to be tested.
    Test,
    Renew,
    End,
}

/// Where steps come from.
pub(super) struct Steps {
    changes: mpsc::Receiver<Batch>,
    allowances: watch::Receiver<Option<Allowance>>,
    pods: Arc<Changes>,
    addresses: Option<watch::Receiver<Vec<IpAddr>>>,
}

impl Steps {
    /// From the cluster, from the configuration, and from the node.
    pub fn new(
        changes: mpsc::Receiver<Batch>,
        allowances: watch::Receiver<Option<Allowance>>,
        pods: Arc<Changes>,
    ) -> Self {
        Steps {
            changes,
            allowances,
            pods,
            addresses: None,
        }
    }

    /// And to which addresses queries are answered, where that changes.
    pub fn with_addresses(self, addresses: Option<watch::Receiver<Vec<IpAddr>>>) -> Self {
        Steps { addresses, ..self }
    }

    async fn next(&mut self, has_to_test: bool) -> Step {
        let Steps {
            changes,
            allowances,
            pods,
            addresses,
        } = self;
        let changed_addresses = async {
            if let Some(addresses) = addresses
                && addresses.changed().await.is_ok()
            {
                return addresses.borrow_and_update().clone();
            }
            // They never change.
            std::future::pending().await
        };
        let idle = if has_to_test {
            Duration::ZERO
        } else {
            RENEWED_EVERY
        };
        tokio::select! {
            // What the kernel may not answer any more comes first, and tests last.
            biased;
            Ok(()) = allowances.changed() => {
                Step::Allow(allowances.borrow_and_update().clone())
            }
            addresses = changed_addresses => Step::AnswerFor(addresses),
            step = async {
                // Each in its turn: neither waits for ever for the other.
                tokio::select! {
                    batch = changes.recv() => batch.map_or(Step::End, Step::Apply),
                    (index, pod) = pods.next() => Step::Pod(index, pod),
                }
            } => step,
            () = tokio::time::sleep(idle) => if has_to_test { Step::Test } else { Step::Renew },
        }
    }
}

/// Applies what comes until there is no more source. The programs are detached on return.
///
/// The lease is renewed here, before and after each step, while it makes progress, and when none comes, and
/// nowhere else: whatever keeps a batch from being applied keeps the lease from being renewed. (That a source has fallen silent cannot
/// be seen here: it looks like one that has nothing to say.)
pub(super) fn apply(
    mut steps: Steps,
    zones: &Clusters,
    follower: Option<Follower>,
    programming: &Programming,
    synchronised: impl FnOnce(usize),
) -> anyhow::Result<()> {
    let mut kernel = Kernel {
        follower,
        zone: None,
    };
    let mut synchronised = Some(synchronised);
    let mut names = 0;
    let runtime = Handle::current();
    loop {
        let step = runtime.block_on(steps.next(kernel.has_to_test()));
        // All that came before is applied.
        kernel.renew();
        match step {
            Step::End => return Ok(()),
            Step::Renew => {
                kernel.follow(&[])?;
                kernel.test();
            }
            Step::Pod(index, pod) => kernel.follow_pod(index, pod),
            Step::AnswerFor(addresses) => kernel.answer_for(addresses),
            Step::Test => kernel.test(),
            Step::Allow(allowance) => kernel.allow(allowance)?,
            Step::Apply(batch) => {
                let triggers = Triggers::of(&batch);
                let mut is_synchronised = true;
                let zones = zones.hold();
                for zone in zones.iter() {
                    // A large batch takes seconds, and the kernel answers as of before it meanwhile: while it makes
                    // progress, which is here or in the publisher, that is renewed.
                    let mut progress = kernel.progress();
                    let touched = (zone.write().map_err(|_| poisoned())?).apply_with(
                        batch.clone(),
                        now_unix(),
                        &mut progress,
                    );
                    drop(progress);
                    if kernel.is_of(zone) {
                        kernel.follow(&touched)?;
                    }
                    names += touched.len();
                    is_synchronised &= read(zone)?.is_synchronised();
                    tracing::debug!(touched = touched.len(), "applied");
                }
                if !triggers.is_empty()
                    && let Some(zone) = zones.first()
                {
                    let zone = read(zone)?;
                    programming.applied(&triggers, SystemTime::now(), |namespace, service| {
                        zone.is_headless(namespace, service)
                    });
                }
                drop(zones);
                if is_synchronised && let Some(synchronised) = synchronised.take() {
                    synchronised(names);
                }
            }
        }
        kernel.renew();
    }
}

/// The kernel, and the zone that it follows.
struct Kernel {
    follower: Option<Follower>,
    zone: Option<Arc<RwLock<Zone>>>,
}

impl Kernel {
    fn is_of(&self, zone: &Arc<RwLock<Zone>>) -> bool {
        self.zone.as_ref().is_some_and(|own| Arc::ptr_eq(own, zone))
    }

    /// The kernel answers what it is allowed from now on.
    fn allow(&mut self, allowance: Option<Allowance>) -> anyhow::Result<()> {
        if self.follower.is_some() {
            tell(allowance.as_ref());
        }
        let Some(allowance) = allowance else {
            return self.turn(None);
        };
        if !self.is_of(&allowance.zone) {
            self.turn(Some(&allowance.zone))?;
        }
        let changed = (allowance.zone.write().map_err(|_| poisoned())?).keep(allowance.kept());
        if let Some(follower) = &mut self.follower {
            follower.rotate(allowance.rotate);
            follower.own(allowance.owners);
        }
        self.follow(&changed)
    }

    fn turn(&mut self, to: Option<&Arc<RwLock<Zone>>>) -> anyhow::Result<()> {
        if let Some(before) = std::mem::replace(&mut self.zone, to.cloned()) {
            (before.write().map_err(|_| poisoned())?).keep(Kept::default());
            if let Some(follower) = &mut self.follower {
                follower.turn();
            }
        }
        Ok(())
    }

    fn follow(&mut self, touched: &[OwnerName]) -> anyhow::Result<()> {
        if let (Some(follower), Some(zone)) = (&mut self.follower, &self.zone) {
            follower.follow(&*read(zone)?, touched)?;
        }
        Ok(())
    }

    /// To be called again and again while a step takes long.
    fn progress(&mut self) -> impl FnMut() {
        let mut renewed = Instant::now();
        move || {
            if renewed.elapsed() >= RENEWED_EVERY {
                renewed = Instant::now();
                self.renew();
            }
        }
    }

    fn follow_pod(&mut self, index: u32, pod: Option<Pod>) {
        if let Some(follower) = &mut self.follower {
            follower.follow_pod(index, pod);
        }
    }

    fn answer_for(&mut self, addresses: Vec<IpAddr>) {
        if let Some(follower) = &mut self.follower {
            follower.answer_for(addresses);
        }
    }

    fn has_to_test(&self) -> bool {
        (self.follower.as_ref()).is_some_and(Follower::has_to_test)
    }

    fn test(&mut self) {
        if let Some(follower) = &mut self.follower {
            follower.test();
        }
    }

    fn renew(&mut self) {
        if let Some(follower) = &mut self.follower {
            follower.renew();
        }
    }
}

fn tell(allowance: Option<&Allowance>) {
    let Some(Allowance { claims, rotate, .. }) = allowance else {
        tracing::warn!(
            "no server block has `kubernetes` for --answer-for: the kernel answers nothing"
        );
        return;
    };
    tracing::info!(
        claims = claims.len(),
        rotate,
        "what the kernel may answer: see `hopzero check-config`"
    );
    for claim in claims {
        tracing::debug!(names = %claim.touch, reason = claim.reason, "kept on the socket");
    }
}

fn read(zone: &RwLock<Zone>) -> anyhow::Result<RwLockReadGuard<'_, Zone>> {
    zone.read().map_err(|_| poisoned())
}

fn poisoned() -> anyhow::Error {
    anyhow!("a change to the zone was left half done")
}

/// The serial's clock. After 2106 it wraps, as serials do (RFC 1982).
fn now_unix() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "modulo 2^32 is what a serial is"
    )]
    now.map_or(0, |elapsed| elapsed.as_secs() as u32)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use hickory_proto::rr::Name;

    use crate::{
        plugin::Touch,
        server::Claim,
        source::Change,
        zone::{Node, ZoneConfig},
    };

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn zone(origin: &str) -> Arc<RwLock<Zone>> {
        Arc::new(RwLock::new(Zone::new(ZoneConfig {
            origin: name(origin),
            ttl: 5,
            ..ZoneConfig::default()
        })))
    }

    fn allowance(zone: &Arc<RwLock<Zone>>, kept: &str) -> Allowance {
        Allowance {
            zone: Arc::clone(zone),
            claims: vec![Claim {
                touch: Touch::Name(name(kept)),
                reason: String::new(),
            }],
            rotate: false,
            owners: Vec::new(),
        }
    }

    /// What is kept comes before the first batch, and changes between batches; another zone is followed with nothing
    /// left behind in the first.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_latest_allowance_comes_before_the_next_batch() {
        let (one, two) = (zone("one."), zone("two."));
        let zones = [Arc::clone(&one), Arc::clone(&two)];
        let allowances = watch::Sender::new(Some(allowance(&one, "a.one.")));
        let (batches, changes) = mpsc::channel(1);
        let mut steps = Steps::new(changes, allowances.subscribe(), Arc::default());
        steps.allowances.mark_changed();
        let runtime = Handle::current();
        let applying = thread::spawn(move || {
            let _entered = runtime.enter();
            let programming = Programming::default();
            apply(steps, &zones.to_vec().into(), None, &programming, |_| ())
        });
        let is_kept = |zone: &RwLock<Zone>, text: &str| {
            zone.read().unwrap().node(&name(text)) == Node::SocketOnly
        };
        // Of two batches the first has been applied when there is room for the second, and then for a third.
        let applied = async || {
            for _ in 0..3 {
                batches.send(vec![Change::Synchronised]).await.unwrap();
            }
        };
        applied().await;
        assert!(is_kept(&one, "a.one."));
        allowances.send_replace(Some(allowance(&one, "b.one.")));
        applied().await;
        assert!(is_kept(&one, "b.one.") && !is_kept(&one, "a.one."));
        allowances.send_replace(Some(allowance(&two, "a.two.")));
        applied().await;
        assert!(is_kept(&two, "a.two.") && !is_kept(&one, "b.one."));
        allowances.send_replace(None);
        applied().await;
        assert!(!is_kept(&two, "a.two."));
        drop(batches);
        applying.join().unwrap().unwrap();
    }
}
