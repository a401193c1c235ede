//! Following one watch for ever: a list of everything, then events, and again when that breaks.
//!
//! ```text
//!         ┌────────────── 410, missed events, an answer that is none ──────────────┐
//!         ▼                                                                        │
//!       list ──complete: one batch──▶ watch ──the server ends it, or is silent──▶ watch
//!         │ fails: nothing of it is ever seen
//!         └──▶ list
//! ```
//!
//! A list is compared with what is held, and only the difference goes on, as one batch when the list is complete. Until
//! the first one is, nobody sees anything, so it goes on in pieces, and is not held twice.

use std::{collections::HashSet, time::Duration};

use futures_util::StreamExt as _;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Latch,
    answer::{Event, Events},
    api::{Api, within},
    audit::{Audit, Found, Verdict},
    held::{Held, Key, Version, key_of},
    metrics::Counted,
    trouble::Trouble,
};
use crate::source::{Batch, Change, Object};

/// How long a watch may be silent before it is taken for dead. A connection that is half open never says that it is.
pub const IDLE_MAX: Duration = Duration::from_mins(1);

/// Events that go on together, if they are there at once.
const BATCH_EVENTS_MAX: usize = 1000;

/// Objects and endpoints of a first list that go on together: some 100 kB, of which several wait.
const PIECE_MAX: usize = 500;

/// A watch that ends sooner was refused in a polite way.
const WATCH_MIN: Duration = Duration::from_secs(1);

/// The first wait after something went wrong, and the longest. They are drawn from the upper half, since all nodes
/// meet the same trouble at once.
const BACKOFF_MS: (u64, u64) = (250, 30_000);

/// How long the API server has to be behind before that is the truth: its store was set back to a backup.
const BEHIND_MAX: Duration = Duration::from_mins(5);

/// A watch with what is held of it.
pub struct Follower {
    api: Api,
    held: Held,
    audit: Audit,
    counted: Counted,
    changes: mpsc::Sender<Batch>,
    /// Until the first list is complete.
    latch: Option<Latch>,
    /// Whether the API server streams lists, once that is known.
    streams: Option<bool>,
    /// What the audit missed.
    missed: HashSet<Key>,
    behind_since: Option<Instant>,
}

/// A list while it comes in.
#[derive(Default)]
struct Listing {
    news: Vec<(Object, Version)>,
    /// Objects and endpoints in it.
    weight: usize,
}

impl Follower {
    /// A watch of which nothing is known yet.
    pub fn new(api: Api, counted: Counted, changes: mpsc::Sender<Batch>, latch: Latch) -> Self {
        Self {
            held: Held::new(api.watched.resource.kind),
            audit: Audit::after(0),
            api,
            counted,
            changes,
            latch: Some(latch),
            streams: None,
            missed: HashSet::new(),
            behind_since: None,
        }
    }

    /// Goes on until nobody takes the changes.
    pub async fn run(mut self) {
        let mut is_listed = false;
        let mut events = None;
        let mut attempt = 0;
        let mut told = "";
        loop {
            let step = if is_listed {
                self.watch(events.take()).await
            } else {
                let listed = self.list().await;
                listed.map(|stream| {
                    is_listed = true;
                    events = stream;
                })
            };
            let Err(trouble) = step.map_err(|trouble| self.name(trouble)) else {
                (attempt, told) = (0, "");
                continue;
            };
            if matches!(trouble, Trouble::Closed) {
                return;
            }
            self.counted.trouble(&trouble);
            if matches!(trouble, Trouble::Gone) && told != trouble.reason() {
                // It answers again, after whatever was before.
                attempt = 0;
            }
            let watch = self.api.watched.name;
            if told == trouble.reason() {
                tracing::debug!(watch, error = %trouble, "the last known data stays");
            } else if matches!(trouble, Trouble::NotInstalled(_)) {
                tracing::error!(watch, "{trouble}");
                told = trouble.reason();
            } else {
                tracing::warn!(watch, error = %trouble, "the last known data stays");
                told = trouble.reason();
            }
            is_listed &= !trouble.needs_list();
            match trouble {
                Trouble::Unauthorised(_) => self.api.connection.renew().await,
                Trouble::Behind(_) => self.note_behind(),
                // What is missing is to be had.
                Trouble::Missed => continue,
                // Nor will the others wait for it.
                Trouble::NotInstalled(_) if self.has_nothing().await.is_err() => return,
                _ => {}
            }
            sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// What it means for this watch.
    fn name(&self, trouble: Trouble) -> Trouble {
        let resource = self.api.watched.resource;
        match trouble {
            Trouble::Unknown(_) if resource.is_custom => {
                Trouble::NotInstalled(format!("{}.{}", resource.plural, resource.group))
            }
            trouble => trouble,
        }
    }

    /// There is no such kind, so there are no such objects: the list is complete.
    async fn has_nothing(&mut self) -> Result<(), Trouble> {
        self.held.begin();
        let gone = self.held.finish(self.held.version());
        self.send(gone).await?;
        // The definition that comes may be one of a cluster that was set up anew.
        self.held.forget_versions();
        self.release().await
    }

    async fn release(&mut self) -> Result<(), Trouble> {
        if let Some(latch) = self.latch.take()
            && latch.release()
        {
            self.send(vec![Change::Synchronised]).await?;
        }
        Ok(())
    }

    /// Takes in everything. A list that was streamed goes on as a watch.
    async fn list(&mut self) -> Result<Option<Events>, Trouble> {
        let streams = match self.streams {
            Some(streams) => streams,
            None => self.api.streams_lists().await?,
        };
        self.streams = Some(streams);
        if streams {
            if self.latch.is_some() {
                self.api.may_list().await?;
            }
            match self.streamed_list().await {
                // The feature may be off.
                Err(Trouble::Unsupported(_)) => self.streams = Some(false),
                listed => return listed.map(Some),
            }
        }
        self.paged_list().await?;
        Ok(None)
    }

    async fn streamed_list(&mut self) -> Result<Events, Trouble> {
        let mut events = self.api.watch(self.held.version(), true).await?;
        let mut listing = self.begin();
        loop {
            let next = async { events.next().await.ok_or(Trouble::Ended)? };
            match within(IDLE_MAX, next).await? {
                Event::Upsert(object, version) => self.take(&mut listing, object, version).await?,
                Event::Bookmark(version, true) => {
                    self.complete(listing, version).await?;
                    return Ok(events);
                }
                // There are no deletions before the list is through.
                Event::Bookmark(_, false) | Event::Delete(..) => {}
            }
        }
    }

    async fn paged_list(&mut self) -> Result<(), Trouble> {
        let mut listing = self.begin();
        let mut next = None;
        loop {
            let page = self.api.page(next).await?;
            for (object, version) in page.items {
                self.take(&mut listing, object, version).await?;
            }
            if page.next.is_none() {
                return self.complete(listing, page.version).await;
            }
            next = page.next;
        }
    }

    fn begin(&mut self) -> Listing {
        self.held.begin();
        Listing::default()
    }

    /// An object of a list.
    async fn take(
        &mut self,
        listing: &mut Listing,
        object: Object,
        version: Version,
    ) -> Result<(), Trouble> {
        if self.held.sight(&key_of(&object), version) {
            listing.weight += weight_of(&object);
            listing.news.push((object, version));
        }
        if self.latch.is_some() && listing.weight >= PIECE_MAX {
            let batch = self.put(listing);
            self.send(batch).await?;
        }
        Ok(())
    }

    /// A list is through: now it is seen.
    async fn complete(&mut self, mut listing: Listing, version: Version) -> Result<(), Trouble> {
        if version < self.held.version() {
            let held = self.held.version();
            return Err(Trouble::Behind(format!("{version} < {held}")));
        }
        let mut batch = self.put(&mut listing);
        batch.extend(self.held.finish(version));
        let missed = std::mem::take(&mut self.missed);
        let repairs = batch.iter().filter(|change| match change {
            Change::Upsert(object) => missed.contains(&key_of(object)),
            Change::Delete(key) => {
                missed.contains(&(key.namespace.as_str().into(), key.name.as_str().into()))
            }
            Change::Synchronised => false,
        });
        self.counted.listed(repairs.count());
        self.heard();
        self.send(batch).await?;
        self.release().await
    }

    fn put(&mut self, listing: &mut Listing) -> Batch {
        listing.weight = 0;
        let news = listing.news.drain(..);
        news.map(|(object, version)| self.held.put(object, version))
            .collect()
    }

    /// Takes in events until the watch ends in order.
    async fn watch(&mut self, events: Option<Events>) -> Result<(), Trouble> {
        let began = Instant::now();
        let events = match events {
            Some(events) => events,
            None => self.api.watch(self.held.version(), false).await?,
        };
        // It goes on from what is held: nothing is missing so far.
        self.counted.heard(self.held.len());
        let mut events = events.ready_chunks(BATCH_EVENTS_MAX);
        let mut idle_until = Instant::now() + IDLE_MAX;
        loop {
            tokio::select! {
                next = timeout_at(idle_until, events.next()) => {
                    let Some(chunk) = next.map_err(|_| Trouble::Silent)? else {
                        let is_early = began.elapsed() < WATCH_MIN;
                        return if is_early { Err(Trouble::Ended) } else { Ok(()) };
                    };
                    idle_until = Instant::now() + IDLE_MAX;
                    self.happened(chunk).await?;
                }
                found = self.audit.next(&self.api, &mut self.held) => self.audited(found)?,
            }
        }
    }

    async fn happened(&mut self, events: Vec<Result<Event, Trouble>>) -> Result<(), Trouble> {
        let mut batch = Batch::new();
        let mut trouble = None;
        for event in events {
            match event {
                Ok(Event::Upsert(object, version)) => {
                    batch.extend(self.held.upsert(object, version));
                }
                Ok(Event::Delete(key, version)) => batch.extend(self.held.delete(&key, version)),
                Ok(Event::Bookmark(version, _)) => self.held.advance(version),
                Err(error) => {
                    trouble = Some(error);
                    break;
                }
            }
        }
        self.send(batch).await?;
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        self.heard();
        Ok(())
    }

    fn audited(&mut self, found: Found) -> Result<(), Trouble> {
        match self.audit.judge(found, &self.api, &mut self.held) {
            Ok(Verdict::Open) => Ok(()),
            Ok(Verdict::Clean) => {
                self.counted.audited();
                Ok(())
            }
            Ok(Verdict::Missed(keys)) => {
                self.counted.audited();
                self.missed.extend(keys);
                Err(Trouble::Missed)
            }
            Err(trouble @ Trouble::Behind(_)) => Err(trouble),
            // The watch goes on.
            Err(trouble) => {
                let watch = self.api.watched.name;
                tracing::warn!(watch, error = %trouble, "no audit for now");
                self.counted.trouble(&trouble);
                Ok(())
            }
        }
    }

    fn heard(&mut self) {
        self.behind_since = None;
        self.counted.heard(self.held.len());
    }

    fn note_behind(&mut self) {
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= BEHIND_MAX {
            let watch = self.api.watched.name;
            tracing::warn!(
                watch,
                "the API server stays behind, as after a backup was restored: what it has is taken for the truth"
            );
            self.held.forget_versions();
            self.behind_since = None;
        }
    }

    async fn send(&mut self, batch: Batch) -> Result<(), Trouble> {
        if batch.is_empty() {
            return Ok(());
        }
        self.changes.send(batch).await.map_err(|_| Trouble::Closed)
    }
}

fn weight_of(object: &Object) -> usize {
    match object {
        Object::EndpointSlice(slice) => 1 + slice.endpoints.len(),
        _ => 1,
    }
}

fn backoff(attempt: u32) -> Duration {
    let (first, longest) = BACKOFF_MS;
    let wait = first.saturating_mul(1 << attempt.min(16)).min(longest);
    Duration::from_millis(fastrand::u64(wait / 2..=wait))
}
