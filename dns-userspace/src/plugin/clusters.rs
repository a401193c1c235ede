//! The zones that are made of the cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::zone::{Zone, ZoneConfig};

/// One zone for each set of wishes, all with the same contents. A clone has the same ones.
#[derive(Clone, Default)]
pub struct Clusters(Arc<Mutex<Vec<Arc<RwLock<Zone>>>>>);

/// Other objects are wanted than those that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("other objects of the cluster are wanted than those that are followed since the start")]
pub struct ShowsOther;

impl Clusters {
    /// The zone as it is wanted. A new one has at once what another has that shows the same.
    ///
    /// # Errors
    ///
    /// The cluster is followed already, and none of the zones shows the same: what the others leave out is not kept.
    pub fn zone(&self, config: ZoneConfig) -> Result<Arc<RwLock<Zone>>, ShowsOther> {
        let mut zones = self.hold();
        let is_same =
            |zone: &&Arc<RwLock<Zone>>| zone.read().is_ok_and(|zone| *zone.config() == config);
        if let Some(zone) = zones.iter().find(is_same) {
            return Ok(Arc::clone(zone));
        }
        let mut others = zones.iter().filter_map(|zone| zone.read().ok());
        let is_followed = others.clone().any(|zone| zone.is_synchronised());
        let zone = match others.find(|zone| zone.config().shown == config.shown) {
            Some(zone) => zone.with_config(config),
            None if is_followed => return Err(ShowsOther),
            None => Zone::new(config),
        };
        let zone = Arc::new(RwLock::new(zone));
        zones.push(Arc::clone(&zone));
        Ok(zone)
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
    use crate::{source::Change, zone::Shown};

    #[test]
    fn zones_are_shared_and_forgotten_but_for_one() {
        let config = |ttl| ZoneConfig {
            origin: Name::from_ascii("cluster.local.").unwrap(),
            ttl,
            ..ZoneConfig::default()
        };
        let clusters = Clusters::default();
        let five = clusters.zone(config(5)).unwrap();
        assert!(Arc::ptr_eq(&five, &clusters.zone(config(5)).unwrap()));
        let nine = clusters.zone(config(9)).unwrap();
        assert_eq!(clusters.hold().len(), 2);
        drop(five);
        clusters.forget_unused();
        assert!(Arc::ptr_eq(&nine, &clusters.hold()[0]));
        drop(nine);
        clusters.forget_unused();
        assert_eq!(clusters.hold().len(), 1);
    }

    #[test]
    fn what_was_left_out_cannot_be_shown_later() {
        let config = |no_endpoints| ZoneConfig {
            origin: Name::from_ascii("cluster.local.").unwrap(),
            shown: Shown {
                no_endpoints,
                ..Shown::default()
            },
            ..ZoneConfig::default()
        };
        let clusters = Clusters::default();
        let zone = clusters.zone(config(true)).unwrap();
        // Before anything is followed, all can be had.
        clusters.zone(config(false)).unwrap();
        clusters.hold().truncate(1);
        zone.write().unwrap().apply(vec![Change::Synchronised], 1);
        assert_eq!(clusters.zone(config(false)).err(), Some(ShowsOther));
        clusters.zone(config(true)).unwrap();
    }
}
