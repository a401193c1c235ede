//! What of the cluster a zone shows: the options of `kubernetes` that leave things out, or name them otherwise.
//!
//! What is not shown is taken out of the stream of changes, as if it were deleted; so nothing behind it has to know.

use std::collections::BTreeSet;

use crate::{
    source::{Change, Object, selector::Selector},
    state::is_label,
};

/// What is shown; by default all services and endpoints, and no pods.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the directive, and they do not depend on one another"
)]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// These namespaces; none: all.
    pub namespaces: BTreeSet<String>,
    /// Namespaces with such labels.
    pub namespace_labels: Option<Selector>,
    /// Services, slices and pods with such labels.
    pub labels: Option<Selector>,
    /// Names of pods.
    pub pods: Pods,
    /// An endpoint without a host name is called as its pod.
    pub endpoint_pod_names: bool,
    /// There are no endpoints: headless services do not exist.
    pub no_endpoints: bool,
    /// A service with an address of its own needs an endpoint that is ready to exist.
    pub ignore_empty_service: bool,
    /// Services of several clusters, for [`ZoneConfig::multicluster`](super::ZoneConfig::multicluster).
    pub imports: bool,
}

/// Whether `1-2-3-4.<ns>.pod.<zone>` is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pods {
    /// There is no such name.
    #[default]
    Disabled,
    /// With the address that it spells, in namespaces that exist.
    Insecure,
    /// If a pod of the namespace has the address.
    Verified,
}

impl Shown {
    /// The change as it is to be seen of what is imported: as in `CoreDNS`, `noendpoints` does not take endpoints away there.
    pub(super) fn seen_of_imports(&self, change: Change) -> Change {
        let shown = Self {
            no_endpoints: false,
            ..self.clone()
        };
        shown.seen(change)
    }

    /// The change as it is to be seen.
    pub(super) fn seen(&self, mut change: Change) -> Change {
        let Change::Upsert(object) = &mut change else {
            return change;
        };
        if !self.shows(object) {
            return Change::Delete(object.key());
        }
        if let Object::EndpointSlice(slice) = object
            && self.endpoint_pod_names
        {
            for endpoint in &mut slice.endpoints {
                let pod = endpoint.target_ref.as_ref();
                let pod = pod.and_then(|pod| pod.name.clone());
                let is_named = endpoint
                    .hostname
                    .as_deref()
                    .is_some_and(|name| !name.is_empty());
                if !is_named {
                    endpoint.hostname = pod.filter(|name| is_label(name));
                }
            }
        }
        change
    }

    fn shows(&self, object: &Object) -> bool {
        let has_labels = |selector: &Option<Selector>, labels| {
            (selector.as_ref()).is_none_or(|selector| selector.matches(labels))
        };
        match object {
            Object::Namespace(namespace) => {
                let metadata = &namespace.metadata;
                let name = metadata.name.as_deref().unwrap_or_default();
                (self.namespaces.is_empty() || self.namespaces.contains(name))
                    && has_labels(&self.namespace_labels, metadata.labels.as_ref())
            }
            Object::Service(service) => has_labels(&self.labels, service.metadata.labels.as_ref()),
            Object::EndpointSlice(slice) => {
                !self.no_endpoints && has_labels(&self.labels, slice.metadata.labels.as_ref())
            }
            // As CoreDNS has it: not the labels of its namespace.
            Object::ServiceImport(import) => {
                self.imports && has_labels(&self.namespace_labels, import.metadata.labels.as_ref())
            }
            Object::Pod(pod) => {
                self.pods == Pods::Verified
                    && has_labels(&self.labels, pod.metadata.labels.as_ref())
            }
        }
    }
}
