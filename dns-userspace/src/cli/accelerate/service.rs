//! To which addresses pods send their queries: those of the Service of the cluster's DNS, and of its endpoints, which network
//! plugins that balance at the socket put in their place before there is a packet.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use hopzero_common::limits::ADDRESSES_MAX;
use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};
use tokio::sync::watch;

use super::{
    Named,
    objects::{self, Wanted},
};
use crate::source::cluster::Connection;

/// The label of a slice that says whose it is.
pub(in crate::cli) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The port of queries that the programs look at.
const PORT: i32 = 53;

/// What is known of the Service.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    own: Vec<IpAddr>,
    endpoints: BTreeSet<IpAddr>,
}

impl Known {
    /// The Service's own first: they stay when endpoints come and go.
    fn addresses(&self) -> Vec<IpAddr> {
        let (mut v4, mut v6) = (0, 0);
        let endpoints = self
            .endpoints
            .iter()
            .filter(|address| !self.own.contains(address));
        let all = self.own.iter().chain(endpoints).copied();
        all.filter(|address| {
            let count = if address.is_ipv4() { &mut v4 } else { &mut v6 };
            *count += 1;
            *count <= ADDRESSES_MAX
        })
        .collect()
    }
}

/// Tells the addresses, now and after each change, for ever. None is said while there is no such Service.
pub(super) async fn follow(
    connection: Connection,
    named: Named,
    addresses: watch::Sender<Vec<IpAddr>>,
) {
    let known = Mutex::new(Known::default());
    let update = |change: &dyn Fn(&mut Known)| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        addresses.send_if_modified(|told| {
            let now = known.addresses();
            let is_new = *told != now;
            if is_new {
                tracing::info!(addresses = ?now, "queries to these addresses are answered in the kernel");
                *told = now;
            }
            is_new
        });
    };
    let services = objects::follow(
        connection.clone(),
        Wanted::one(&named),
        |services: Vec<Service>| {
            if services.is_empty() {
                tracing::warn!(
                    "there is no Service {named}: name that of the cluster's DNS with --service, or its address with --answer-for"
                );
            }
            update(&|known| known.own = services.iter().flat_map(own_addresses).collect());
        },
    );
    let wanted = Wanted {
        namespace: named.namespace.clone(),
        fields: None,
        labels: Some(format!("{SERVICE_NAME}={}", named.name)),
    };
    let slices = objects::follow(connection, wanted, |slices: Vec<EndpointSlice>| {
        update(&|known| known.endpoints = slices.iter().flat_map(endpoints).collect());
    });
    tokio::join!(services, slices);
}

/// Those to which queries are sent.
pub(in crate::cli) fn own_addresses(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let is_dns = spec.ports.iter().flatten().any(|port| {
        port.port == PORT
            && port
                .protocol
                .as_deref()
                .is_none_or(|protocol| protocol == "UDP")
    });
    if !is_dns {
        tracing::warn!("the Service has no UDP port 53");
        return Vec::new();
    }
    let addresses = match spec.cluster_ips.as_deref() {
        Some(addresses) if !addresses.is_empty() => addresses,
        _ => spec.cluster_ip.as_slice(),
    };
    // A headless one says "None".
    addresses
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// Those that take queries at port 53.
pub(in crate::cli) fn endpoints(slice: &EndpointSlice) -> Vec<IpAddr> {
    let is_dns = slice.ports.iter().flatten().any(|port| {
        port.port == Some(PORT)
            && port
                .protocol
                .as_deref()
                .is_none_or(|protocol| protocol == "UDP")
    });
    if !is_dns {
        return Vec::new();
    }
    let is_ready = |endpoint: &&Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready) != Some(false)
    };
    (slice.endpoints.iter().filter(is_ready))
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|text| text.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn parsed(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn service(spec: &Value) -> Service {
        from_value(json!({"metadata": {"name": "kube-dns"}, "spec": spec})).unwrap()
    }

    #[test]
    fn addresses_of_the_service() {
        let udp = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
        let dual = service(&json!({"clusterIP": "10.96.0.10",
            "clusterIPs": ["10.96.0.10", "fd00::a"], "ports": udp}));
        assert_eq!(own_addresses(&dual), parsed(&["10.96.0.10", "fd00::a"]));
        let single = service(&json!({"clusterIP": "10.96.0.10", "ports": udp}));
        assert_eq!(own_addresses(&single), parsed(&["10.96.0.10"]));
        let headless = service(&json!({"clusterIP": "None", "ports": udp}));
        assert!(own_addresses(&headless).is_empty());
        let other = json!([{"port": 53, "protocol": "TCP"}, {"port": 5353, "protocol": "UDP"}]);
        let other = service(&json!({"clusterIP": "10.96.0.10", "ports": other}));
        assert!(own_addresses(&other).is_empty());
    }

    #[test]
    fn endpoints_at_the_port_of_queries() {
        let slice = |port: u16| -> EndpointSlice {
            from_value(json!({"addressType": "IPv4", "metadata": {},
            "ports": [{"name": "dns", "port": port, "protocol": "UDP"}],
            "endpoints": [
                {"addresses": ["10.244.0.5"], "conditions": {"ready": true}},
                {"addresses": ["10.244.0.6"], "conditions": {"ready": false}},
                {"addresses": ["10.244.0.7"], "conditions": {}},
            ]}))
            .unwrap()
        };
        assert_eq!(endpoints(&slice(53)), parsed(&["10.244.0.5", "10.244.0.7"]));
        assert!(endpoints(&slice(8053)).is_empty());
    }

    #[test]
    fn the_service_s_own_come_first_and_there_is_a_limit() {
        let known = Known {
            own: parsed(&["10.96.0.10", "fd00::a"]),
            endpoints: (0..20)
                .map(|last| IpAddr::from([10, 244, 0, last]))
                .collect(),
        };
        let addresses = known.addresses();
        assert_eq!(addresses[..2], known.own);
        assert_eq!(addresses.len(), ADDRESSES_MAX + 1);
        assert_eq!(addresses[2], IpAddr::from([10, 244, 0, 0]));
    }
}
