//! What there is to do about pods' devices.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::Pod;

/// What has become of pods' devices, the latest of each; `None`: it is gone, or no pod's any more.
#[derive(Debug, Default)]
pub struct Changes {
    pending: Mutex<Pending>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    gone: BTreeSet<u32>,
    there: BTreeMap<u32, Pod>,
}

impl Changes {
    pub(super) fn put(&self, index: u32, pod: Option<Pod>) {
        let mut pending = self.pending();
        if let Some(pod) = pod {
            pending.gone.remove(&index);
            pending.there.insert(index, pod);
        } else {
            pending.there.remove(&index);
            pending.gone.insert(index);
        }
        drop(pending);
        self.some.notify_one();
    }

    /// The next one, when there is one. Nothing is lost if this is dropped before.
    pub async fn next(&self) -> (u32, Option<Pod>) {
        loop {
            if let Some(next) = self.pending().next() {
                return next;
            }
            self.some.notified().await;
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// First what is gone, which is done at once; then the newest, since where they go as fast as they come the oldest are gone
    /// soonest.
    fn next(&mut self) -> Option<(u32, Option<Pod>)> {
        if let Some(gone) = self.gone.pop_first() {
            return Some((gone, None));
        }
        let (index, pod) = self.there.pop_last()?;
        Some((index, Some(pod)))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Link, *};

    fn veth() -> Link {
        Link {
            index: 3,
            name: "a".to_owned(),
            is_up: true,
            mac: Some([2, 0, 0, 0, 0, 1]),
            is_veth: true,
            peer_is_elsewhere: true,
            master: None,
        }
    }

    #[tokio::test]
    async fn only_the_latest_of_a_device_is_left_to_do() {
        let changes = Changes::default();
        let pod = |birth| Pod {
            link: veth(),
            bridge: None,
            birth,
        };
        changes.put(4, Some(pod(2)));
        changes.put(3, Some(pod(1)));
        changes.put(3, None);
        changes.put(2, None);
        changes.put(2, Some(pod(3)));
        assert_eq!(changes.next().await, (3, None));
        assert_eq!(changes.next().await, (4, Some(pod(2))));
        assert_eq!(changes.next().await.0, 2);
        assert!(changes.pending().next().is_none());
    }
}
