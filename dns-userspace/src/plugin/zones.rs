//! Zones as bytes, for names that are bytes.

use hickory_proto::rr::Name;

use crate::wire;

/// Zones by which it is decided whether something is done.
#[derive(Clone, Debug, Default)]
pub struct Zones(Vec<Box<[u8]>>);

impl Zones {
    /// These.
    pub fn new(zones: &[Name]) -> Self {
        let zones = zones.iter().map(|zone| wire::lower_name(zone).into());
        Zones(zones.collect())
    }

    /// Whether a name in lower case lies in one of them.
    pub fn contain(&self, name: &[u8]) -> bool {
        let is_one = |suffix: &[u8]| self.0.iter().any(|zone| **zone == *suffix);
        !self.0.is_empty() && wire::suffixes(name).any(is_one)
    }
}
