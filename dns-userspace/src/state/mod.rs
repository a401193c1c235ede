//! The cluster as DNS sees it: each object once, cut down to the fields that answers are made of,
//! and for each change the names that it touches.
//!
//! A service is *visible* when its namespace exists; only visible services own addresses. A change
//! of a namespace therefore costs what its services cost, and any other change costs what it
//! itself is long, never what the cluster is.

mod addresses;
mod counts;
mod pods;
mod scope;
mod slim;
mod touched;
mod update;
mod view;

use std::{collections::BTreeMap, sync::Arc};

pub use addresses::{Addresses, Owner, common_prefix_bits};
pub use counts::Counts;
pub use pods::Pods;
pub use slim::{
    Host, IMPORT_NAME_LABEL, Port, Protocol, SERVICE_NAME_LABEL, Service, Slice, address_label,
    is_label,
};
pub use touched::Touched;
pub use view::ServiceView;

/// The cluster's own services, or those that it imports from a set of clusters.
#[derive(Clone, Debug, Default)]
pub struct State {
    is_of_imports: bool,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    addresses: Addresses,
    pods: Pods,
}

/// What is known of a namespace, which may be before the namespace itself is.
#[derive(Clone, Debug, Default)]
struct Namespace {
    /// The Namespace object exists.
    exists: bool,
    services: BTreeMap<Arc<str>, Entry>,
    /// Which service each slice belongs to.
    slices: BTreeMap<Arc<str>, Arc<str>>,
}

/// A service and its slices, each of which may come first.
#[derive(Clone, Debug, Default)]
struct Entry {
    service: Option<Service>,
    slices: BTreeMap<Arc<str>, Slice>,
}

impl Namespace {
    fn is_empty(&self) -> bool {
        !self.exists && self.services.is_empty() && self.slices.is_empty()
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }
}
