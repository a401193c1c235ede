//! Where Kubernetes objects come from: one stream of changes, whatever is behind it.
//!
//! A source first sends everything it has, then [`Change::Synchronised`] once, then what changes.
//! Nothing downstream may know which source it is.

pub mod cluster;
pub mod manifests;
pub mod objects;
pub mod selector;

use std::{fmt, future::Future};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use objects::{EndpointSlice, Namespace, ObjectMeta, Pod, Service, ServiceImport};

/// A Kubernetes object of a kind that DNS needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A Service: cluster IP names, headless names, `ExternalName`.
    Service(Box<Service>),
    /// The endpoints of a headless service.
    EndpointSlice(Box<EndpointSlice>),
    /// A namespace exists: `<ns>.svc.<zone>` is an empty non-terminal.
    Namespace(Box<Namespace>),
    /// A pod, for `pods verified` and `endpoint_pod_names`.
    Pod(Box<Pod>),
    /// A service of several clusters, for `multicluster`.
    ServiceImport(Box<ServiceImport>),
}

/// The kinds of [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1/Service`
    Service,
    /// `discovery.k8s.io/v1/EndpointSlice`
    EndpointSlice,
    /// `v1/Namespace`
    Namespace,
    /// `v1/Pod`
    Pod,
    /// `multicluster.x-k8s.io/v1alpha1/ServiceImport`
    ServiceImport,
}

/// What identifies an object: at most one object has a given key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind of the object.
    pub kind: Kind,
    /// The namespace; empty for a [`Kind::Namespace`].
    pub namespace: String,
    /// The name within the namespace.
    pub name: String,
}

impl Object {
    /// What identifies the object. A namespaced object without a namespace is in none.
    pub fn key(&self) -> ObjectKey {
        let metadata = self.metadata();
        ObjectKey {
            kind: self.kind(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
            Self::ServiceImport(_) => Kind::ServiceImport,
        }
    }

    /// Its name, labels and version.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Service(service) => &service.metadata,
            Self::EndpointSlice(slice) => &slice.metadata,
            Self::Namespace(namespace) => &namespace.metadata,
            Self::Pod(pod) => &pod.metadata,
            Self::ServiceImport(import) => &import.metadata,
        }
    }
}

impl From<Service> for Object {
    fn from(service: Service) -> Self {
        Self::Service(Box::new(service))
    }
}

impl From<EndpointSlice> for Object {
    fn from(slice: EndpointSlice) -> Self {
        Self::EndpointSlice(Box::new(slice))
    }
}

impl From<Namespace> for Object {
    fn from(namespace: Namespace) -> Self {
        Self::Namespace(Box::new(namespace))
    }
}

impl From<Pod> for Object {
    fn from(pod: Pod) -> Self {
        Self::Pod(Box::new(pod))
    }
}

impl From<ServiceImport> for Object {
    fn from(import: ServiceImport) -> Self {
        Self::ServiceImport(Box::new(import))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::ServiceImport => "ServiceImport",
        })
    }
}

/// As in `Service shop/web` and `Namespace shop`.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        if namespace.is_empty() {
            write!(f, "{kind} {name}")
        } else {
            write!(f, "{kind} {namespace}/{name}")
        }
    }
}

/// One change of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object is new, or has changed.
    Upsert(Object),
    /// The object is gone.
    Delete(ObjectKey),
    /// Everything that existed when the source started has been sent.
    Synchronised,
}

/// Changes that become visible together (those of one file, or of one list).
pub type Batch = Vec<Change>;

/// A stream of changes.
pub trait Source: Send + 'static {
    /// Sends batches until `stop` is cancelled or the receiver is gone.
    fn run(
        self,
        changes: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}
