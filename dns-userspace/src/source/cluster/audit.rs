//! The audit: from time to time all names and versions are listed beside the watch, and compared with what is held.
//!
//! A watch can lose events without a sign: a proxy, a bug of the API server, one of ours. A difference alone is no
//! proof, since the list may show what an event is about to say. So the watch gets time to catch up, and what differs
//! still was missed: then everything is listed, which is what repairs it.
//!
//! What it costs the API server grows with the cluster and with the nodes, which grow together: where there are many objects
//! it is rarer, so that a node asks for no more than [`OBJECTS_A_SECOND_MAX`] on average.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::{
    answer::Page,
    api::Api,
    held::{Held, Key, Version},
    trouble::Trouble,
};

/// The next audit is not before that, and not after twice as long: not at all nodes at once.
const EVERY_MIN: Duration = Duration::from_mins(5);
/// Objects of which an audit asks for names and versions. 5,000 nodes with 10,000 services each would
/// else take three CPUs of the API server (docs/scale.md).
const OBJECTS_A_SECOND_MAX: f64 = 4.0;
/// How long until one that failed is tried again.
const AGAIN: Duration = Duration::from_mins(1);
/// How long events may lag behind a list.
const LAG_MAX: Duration = Duration::from_secs(10);

/// How long it is at least from one audit of so many objects to the next one. It may be twice that.
pub fn pause_min(objects: usize) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let enough = Duration::from_secs_f64(objects as f64 / OBJECTS_A_SECOND_MAX);
    enough.max(EVERY_MIN)
}

/// Something that differs.
#[derive(Debug)]
struct Suspect {
    key: Key,
    /// What is held of it, if anything.
    held: Option<Version>,
    /// What the list has of it, if anything.
    listed: Option<Version>,
}

impl Suspect {
    /// Whether no event has told of it meanwhile.
    fn is_missed(&self, held: &Held) -> bool {
        let now = held.version_of(&self.key);
        match self.listed {
            Some(listed) => now.is_none_or(|now| now < listed),
            None => now.is_some() && now == self.held,
        }
    }
}

type Names = Result<Page<(Key, Version)>, Trouble>;

enum Step {
    Waiting(Instant),
    Asking(BoxFuture<'static, Names>, Vec<Suspect>),
    Settling(Instant, Vec<Suspect>),
}

/// The audit of one watch.
pub struct Audit(Step);

/// What [`Audit::next`] has waited for.
pub enum Found {
    /// A page of the list.
    Names(Names),
    /// The watch had its time.
    Settled,
}

/// How an audit stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Open,
    /// Everything is as it should be.
    Clean,
    /// Events were missed, of these objects.
    Missed(Vec<Key>),
}

impl Audit {
    /// The next one comes after a while; a longer one, if there are many objects.
    pub fn after(objects: usize) -> Self {
        let wait = pause_min(objects).mul_f64(1.0 + fastrand::f64());
        Self(Step::Waiting(Instant::now() + wait))
    }

    /// Waits for what comes next. It may be dropped and called again.
    pub async fn next(&mut self, api: &Api, held: &mut Held) -> Found {
        loop {
            match &mut self.0 {
                Step::Waiting(until) => {
                    sleep_until(*until).await;
                    held.begin();
                    self.ask(api, None, Vec::new());
                }
                Step::Asking(names, _) => return Found::Names(names.await),
                Step::Settling(until, _) => {
                    sleep_until(*until).await;
                    return Found::Settled;
                }
            }
        }
    }

    /// Compares what was found.
    pub fn judge(&mut self, found: Found, api: &Api, held: &mut Held) -> Result<Verdict, Trouble> {
        match (found, &mut self.0) {
            (Found::Names(Ok(page)), Step::Asking(_, suspects)) => {
                let mut suspects = std::mem::take(suspects);
                for (key, version) in page.items {
                    if held.sight(&key, version) {
                        suspects.push(Suspect {
                            held: held.version_of(&key),
                            listed: Some(version),
                            key,
                        });
                    }
                }
                if page.next.is_some() {
                    self.ask(api, page.next, suspects);
                    return Ok(Verdict::Open);
                }
                if page.version < held.version() {
                    let text = format!("{} < {}", page.version, held.version());
                    *self = Self::after(held.len());
                    return Err(Trouble::Behind(text));
                }
                suspects.extend(held.unseen().map(|(key, version)| Suspect {
                    key: key.clone(),
                    held: Some(version),
                    listed: None,
                }));
                if suspects.is_empty() {
                    *self = Self::after(held.len());
                    return Ok(Verdict::Clean);
                }
                self.0 = Step::Settling(Instant::now() + LAG_MAX, suspects);
                Ok(Verdict::Open)
            }
            (Found::Names(Err(trouble)), _) => {
                self.0 = Step::Waiting(Instant::now() + AGAIN);
                Err(trouble)
            }
            (Found::Settled, Step::Settling(_, suspects)) => {
                let missed = suspects.drain(..).filter(|suspect| suspect.is_missed(held));
                let missed: Vec<Key> = missed.map(|suspect| suspect.key).collect();
                *self = Self::after(held.len());
                Ok(if missed.is_empty() {
                    Verdict::Clean
                } else {
                    Verdict::Missed(missed)
                })
            }
            (_, _) => Ok(Verdict::Open),
        }
    }

    fn ask(&mut self, api: &Api, next: Option<String>, suspects: Vec<Suspect>) {
        let api = api.clone();
        self.0 = Step::Asking(Box::pin(async move { api.names(next).await }), suspects);
    }
}
