//! Asking again for what is kept.

use std::{sync::Arc, time::Duration};

use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

use super::{
    Entry, Inner, Kind, Next, Outcome, Reply, Request, Served, Wanted, answers, authenticated,
    entry::Refreshing, question,
};

/// What asking again has brought.
enum Refreshed {
    /// The client's outcome.
    Yes(Outcome),
    /// Nothing that replaces the entry.
    No,
}

impl Inner {
    /// Asks again for an entry that is fresh and wanted; its place among those that are stays.
    pub(super) fn prefetch(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        wanted: &Wanted,
        request: &Request,
        next: Next<'_>,
    ) {
        let now = Instant::now();
        let Some(refreshing) = entry.begin_refresh(now, Duration::ZERO) else {
            return;
        };
        wanted.counters.prefetch.add(1);
        let (cache, entry, wanted) = (Arc::clone(self), Arc::clone(entry), wanted.clone());
        let (mut request, behind) = (request.clone(), next.detach());
        tokio::spawn(async move {
            if let Ok(Served::Reply(mut reply)) = authenticated(&mut request, behind.next()).await
                && let Some(new) = cache.take(&wanted, &request, &mut reply)
            {
                new.inherit(&entry, now);
            }
            drop(refreshing);
        });
    }

    /// Asks again for a stale entry, while the client gets it.
    pub(super) fn refresh_behind(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        wanted: &Wanted,
        request: &Request,
        next: Next<'_>,
    ) {
        let now = Instant::now();
        let Some(refreshing) = entry.begin_refresh(now, self.config.stale.recheck) else {
            return;
        };
        wanted.counters.prefetch.add(1);
        let (cache, wanted) = (Arc::clone(self), wanted.clone());
        let (mut request, behind) = (request.clone(), next.detach());
        tokio::spawn(async move {
            let _ = (cache.refresh(&wanted, &mut request, behind.next(), Some(refreshing))).await;
        });
    }

    /// Asks again for a stale entry before the client gets it; `None` if that is what it gets.
    pub(super) async fn verify(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        wanted: &Wanted,
        request: &mut Request,
        next: Next<'_>,
    ) -> Option<Outcome> {
        let stale = self.config.stale;
        let is_one_at_a_time = !stale.recheck.is_zero() || !stale.timeout.is_zero();
        let refreshing = if is_one_at_a_time {
            Some(entry.begin_refresh(Instant::now(), stale.recheck)?)
        } else {
            None
        };
        let refreshed = if stale.timeout.is_zero() {
            self.refresh(wanted, request, next, refreshing).await
        } else {
            let (cache, wanted) = (Arc::clone(self), wanted.clone());
            let (mut request, behind) = (request.clone(), next.detach());
            let task = tokio::spawn(async move {
                (cache.refresh(&wanted, &mut request, behind.next(), refreshing)).await
            });
            // In vain, or not in time: then it goes on by itself.
            tokio::time::timeout(stale.timeout, task).await.ok()?.ok()?
        };
        match refreshed {
            Refreshed::Yes(outcome) => Some(outcome),
            Refreshed::No => None,
        }
    }

    /// Asks those behind, and keeps what is better than the stale entry.
    async fn refresh(
        &self,
        wanted: &Wanted,
        request: &mut Request,
        next: Next<'_>,
        mut refreshing: Option<Refreshing>,
    ) -> Refreshed {
        let Ok(Served::Reply(mut reply)) = authenticated(request, next).await else {
            return Refreshed::No;
        };
        let is_better = self.is_better(wanted, request, &reply);
        if is_better || (self.config.prefer_positive && !reply.flags.truncated) {
            self.take(wanted, request, &mut reply);
        }
        if let Some(refreshing) = &mut refreshing {
            refreshing.is_done = is_better;
        }
        if is_better {
            Refreshed::Yes(Ok(reply.into()))
        } else {
            Refreshed::No
        }
    }

    /// NOERROR and NXDOMAIN are better than what is stale (RFC 8767 section 4); with `prefer_positive` only an answer.
    fn is_better(&self, wanted: &Wanted, request: &Request, reply: &Reply) -> bool {
        let (question, dnssec_ok) = (question(request), wanted.key.dnssec_ok);
        if reply.flags.truncated {
            return false;
        }
        if self.config.prefer_positive {
            return Kind::of(reply, question, dnssec_ok) == Kind::Success
                && answers(reply, question);
        }
        matches!(reply.rcode, ResponseCode::NoError | ResponseCode::NXDomain)
            && Kind::at_first_sight(reply, question, dnssec_ok) != Kind::Other
    }
}
