//! The thread that applies changes: to the zones, and to the kernel, which follows one of them.

use std::{
    sync::{Arc, RwLock, RwLockReadGuard},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use hickory_proto::rr::Name;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use crate::{
    kernel::{Follower, RENEWED_EVERY},
    plugin::{
        clusters::Clusters,
        kubernetes::{Programming, Triggers},
    },
    server::Allowance,
    source::Batch,
    zone::{Kept, Zone},
};

/// What there is to do.
enum Step {
    Apply(Batch),
    /// The kernel may answer something else, or nothing.
    Allow(Option<Allowance>),
    Renew,
    End,
}

/// Where steps come from.
pub(super) struct Steps {
    changes: mpsc::Receiver<Batch>,
    allowances: watch::Receiver<Option<Allowance>>,
}

impl Steps {
    /// From the cluster, and from the configuration.
    pub fn new(
        changes: mpsc::Receiver<Batch>,
        allowances: watch::Receiver<Option<Allowance>>,
    ) -> Self {
        Steps {
            changes,
            allowances,
        }
    }

    async fn next(&mut self) -> Step {
        tokio::select! {
            // What the kernel may not answer any more comes first.
            biased;
            Ok(()) = self.allowances.changed() => {
                Step::Allow(self.allowances.borrow_and_update().clone())
            }
            batch = self.changes.recv() => batch.map_or(Step::End, Step::Apply),
            () = tokio::time::sleep(RENEWED_EVERY) => Step::Renew,
        }
    }
}

/// Applies what comes until there is no more source. The programs are detached on return.
///
/// The lease is renewed here, before and after each step, as it makes progress, and when none comes, and
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
        let step = runtime.block_on(steps.next());
        // All that came before is applied. A large batch may take a second or two before it comes to the publisher,
        // from where on its progress renews the lease.
        kernel.renew();
        match step {
            Step::End => return Ok(()),
            Step::Renew => kernel.follow(&[])?,
            Step::Allow(allowance) => kernel.allow(allowance)?,
            Step::Apply(batch) => {
                let triggers = Triggers::of(&batch);
                let mut is_synchronised = true;
                let zones = zones.hold();
                for zone in zones.iter() {
                    let touched =
                        (zone.write().map_err(|_| poisoned())?).apply(batch.clone(), now_unix());
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

    fn follow(&mut self, touched: &[Name]) -> anyhow::Result<()> {
        if let (Some(follower), Some(zone)) = (&mut self.follower, &self.zone) {
            follower.follow(&*read(zone)?, touched)?;
        }
        Ok(())
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
        let mut steps = Steps::new(changes, allowances.subscribe());
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
