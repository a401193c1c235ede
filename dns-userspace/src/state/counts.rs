//! How much of the cluster is known.

use serde::{Deserialize, Serialize};

use super::{Slice, State};

/// Objects, and what is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Namespaces that exist.
    pub namespaces: usize,
    /// Services in them.
    pub services: usize,
    /// Addresses of ready endpoints in slices of those.
    pub endpoints: usize,
    /// Pods with an address.
    pub pods: usize,
    /// Services of several clusters, in namespaces that exist.
    #[serde(default)]
    pub service_imports: usize,
}

impl State {
    /// Counts it, which takes a pass over all services.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            namespaces: self.namespaces().count(),
            pods: self.pods.len(),
            ..Counts::default()
        };
        for (_, _, service) in self.services() {
            counts.services += 1;
            counts.endpoints += service.slices().map(Slice::len).sum::<usize>();
        }
        counts
    }
}
