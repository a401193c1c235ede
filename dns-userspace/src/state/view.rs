//! Reading the state: what the zone answers from.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr, sync::Arc};

use super::{Addresses, Entry, Host, Namespace, Pods, Port, Protocol, Service, Slice, State};

impl State {
    /// Whether the namespace exists.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces
            .get(namespace)
            .is_some_and(|namespace| namespace.exists)
    }

    /// Every existing namespace, sorted.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<str>> {
        self.visible().map(|(name, _)| name)
    }

    /// A service that DNS may speak of.
    pub fn service(&self, namespace: &str, service: &str) -> Option<ServiceView<'_>> {
        let namespace = self.namespaces.get(namespace).filter(|ns| ns.exists)?;
        ServiceView::new(namespace.services.get(service)?)
    }

    /// Every visible service, by namespace and name, sorted.
    pub fn services(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, ServiceView<'_>)> {
        self.visible().flat_map(|(name, namespace)| {
            let services = namespace.services.iter();
            services
                .filter_map(move |(service, entry)| Some((name, service, ServiceView::new(entry)?)))
        })
    }

    /// The addresses of visible services and their endpoints.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The pods that have an address.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// A slice of a visible service.
    pub fn slice(&self, namespace: &str, service: &str, slice: &str) -> Option<&Slice> {
        let namespace = self.namespaces.get(namespace).filter(|ns| ns.exists)?;
        namespace.services.get(service)?.slices.get(slice)
    }

    fn visible(&self) -> impl Iterator<Item = (&Arc<str>, &Namespace)> {
        self.namespaces.iter().filter(|(_, ns)| ns.exists)
    }
}

/// A visible service with its endpoints.
#[derive(Clone, Copy, Debug)]
pub struct ServiceView<'a> {
    /// The service itself.
    pub service: &'a Service,
    entry: &'a Entry,
}

impl<'a> ServiceView<'a> {
    fn new(entry: &'a Entry) -> Option<Self> {
        let service = entry.service.as_ref()?;
        Some(Self { service, entry })
    }

    /// Whether its own name exists: a headless service without a ready endpoint is NXDOMAIN by
    /// the letter of the specification.
    pub fn exists(&self) -> bool {
        match self.service {
            Service::ClusterIp { .. } | Service::ExternalName(_) => true,
            Service::Headless => !self.is_empty(),
        }
    }

    /// Whether none of its endpoints is ready.
    pub fn is_empty(&self) -> bool {
        self.slices().all(Slice::is_empty)
    }

    /// Its slices; an alias has none.
    pub fn slices(&self) -> impl Iterator<Item = &'a Slice> + use<'a> {
        let alias = matches!(self.service, Service::ExternalName(_));
        self.entry.slices.values().filter(move |_| !alias)
    }

    /// The addresses at its own name, sorted.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        match self.service {
            Service::ClusterIp { addresses, .. } => addresses.iter().copied().collect(),
            Service::Headless => self.slices().flat_map(Slice::addresses).collect(),
            Service::ExternalName(_) => BTreeSet::new(),
        }
    }

    /// The addresses of one endpoint's name, sorted. None: there is no such name.
    pub fn endpoint(&self, host: Host<'_>) -> BTreeSet<IpAddr> {
        self.endpoint_addresses(host).collect()
    }

    /// Whether a cluster has endpoints of it: there are names below `<cluster>.<svc>`.
    pub fn has_cluster(&self, cluster: &str) -> bool {
        self.clusters().any(|having| having == cluster)
    }

    /// The clusters that have endpoints of it; one may come twice.
    pub fn clusters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let ready = self.slices().filter(|slice| !slice.is_empty());
        ready.filter_map(|slice| slice.cluster.as_deref())
    }

    /// The same in no order; one may come twice.
    pub fn endpoint_addresses<'h>(
        &self,
        host: Host<'h>,
    ) -> impl Iterator<Item = IpAddr> + use<'a, 'h> {
        self.slices()
            .filter(move |slice| slice.cluster.as_deref() == host.cluster)
            .flat_map(move |slice| slice.addresses_of(host.label))
    }

    /// The addresses of all its endpoints in no order; one may come twice.
    pub fn endpoints_addresses(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        self.slices().flat_map(Slice::addresses)
    }

    /// The clusters and labels of all ready endpoints, sorted.
    pub fn hosts(&self) -> BTreeSet<(Option<&'a str>, Cow<'a, str>)> {
        let endpoints = |slice: &'a Slice| {
            let cluster = slice.cluster.as_deref();
            slice.endpoints().map(move |(host, _)| (cluster, host))
        };
        self.slices().flat_map(endpoints).collect()
    }

    /// Its named ports that have a target, sorted.
    pub fn named_ports(&self) -> BTreeSet<(Protocol, &'a str)> {
        self.each_named_port().collect()
    }

    /// The same in no order; one may come twice.
    pub fn each_named_port(&self) -> impl Iterator<Item = (Protocol, &'a str)> + use<'a> {
        let ports: Box<dyn Iterator<Item = &'a Port> + 'a> = match self.service {
            Service::ClusterIp { ports, .. } => Box::new(ports.iter()),
            Service::Headless => Box::new(
                self.slices()
                    .filter(|slice| !slice.is_empty())
                    .flat_map(|slice| &slice.ports),
            ),
            Service::ExternalName(_) => Box::new(std::iter::empty()),
        };
        ports.filter_map(|port| Some((port.protocol, port.name.as_deref()?)))
    }
}
