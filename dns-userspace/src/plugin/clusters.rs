//! The zones that are made of the cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::zone::{Zone, ZoneConfig};

/// One zone for each set of wishes, all with the same contents. A clone has the same ones.
#[derive(Clone, Default)]
pub struct Clusters(Arc<Mutex<Vec<Arc<RwLock<Zone>>>>>);

impl Clusters {
    /// The zone as it is wanted. A new one has at once what the others have.
    pub fn zone(&self, config: ZoneConfig) -> Arc<RwLock<Zone>> {
        let mut zones = self.hold();
        let is_same =
            |zone: &&Arc<RwLock<Zone>>| zone.read().is_ok_and(|zone| *zone.config() == config);
        if let Some(zone) = zones.iter().find(is_same) {
            return Arc::clone(zone);
        }
        let other = zones.first().cloned();
        let zone = match other.as_ref().and_then(|zone| zone.read().ok()) {
            Some(zone) => zone.with_config(config),
            None => Zone::new(config),
        };
        let zone = Arc::new(RwLock::new(zone));
        zones.push(Arc::clone(&zone));
        zone
    }

    /// All of them, and none is added while they are held: for who applies a change to all.
    pub fn hold(&self) -> MutexGuard<'_, Vec<Arc<RwLock<Zone>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of those that nobody else has. One stays, for the contents.
    pub fn forget_unused(&self) {
        let mut zones = self.hold();
        let is_used = |zone: &Arc<RwLock<Zone>>| Arc::strong_count(zone) > 1;
        if zones.iter().any(is_used) {
            zones.retain(is_used);
        } else {
            zones.truncate(1);
        }
    }
}

impl From<Vec<Arc<RwLock<Zone>>>> for Clusters {
    fn from(zones: Vec<Arc<RwLock<Zone>>>) -> Self {
        Clusters(Arc::new(Mutex::new(zones)))
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::*;

    #[test]
    fn zones_are_shared_and_forgotten_but_for_one() {
        let config = |ttl| ZoneConfig {
            origin: Name::from_ascii("cluster.local.").unwrap(),
            reverse: Vec::new(),
            ttl,
        };
        let clusters = Clusters::default();
        let five = clusters.zone(config(5));
        assert!(Arc::ptr_eq(&five, &clusters.zone(config(5))));
        let nine = clusters.zone(config(9));
        assert_eq!(clusters.hold().len(), 2);
        drop(five);
        clusters.forget_unused();
        assert!(Arc::ptr_eq(&nine, &clusters.hold()[0]));
        drop(nine);
        clusters.forget_unused();
        assert_eq!(clusters.hold().len(), 1);
    }
}
