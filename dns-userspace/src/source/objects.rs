//! Kubernetes objects, cut down to the fields that DNS needs.
//!
//! A Service of an API server is some 2 kB of text, a slice of 100 endpoints some 60 kB, most of it managed fields,
//! annotations and references. Reading by these types, from JSON or YAML, passes over all of that: it is never held.
//! Names and types are those of the Kubernetes API, so that an error in a manifest says where it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `metadata` of every object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// The name within the namespace.
    pub name: Option<String>,
    /// The namespace of a namespaced object.
    pub namespace: Option<String>,
    /// When the object was last written, on the clock of the API server's store.
    pub resource_version: Option<String>,
    /// When it is being deleted, since when.
    pub deletion_timestamp: Option<String>,
    /// What selectors see.
    pub labels: Option<BTreeMap<String, String>>,
    /// The annotations that are read.
    pub annotations: Option<Annotations>,
}

/// Of the annotations, which may be long, only this one is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// When endpoints changed, of which the controller made the slice: for how long that takes.
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    pub last_change: Option<String>,
}

/// `v1/Namespace`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Name and labels.
    pub metadata: ObjectMeta,
}

/// `v1/Service`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What is asked for, addresses included.
    pub spec: Option<ServiceSpec>,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP`, `ExternalName` and others.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// What an `ExternalName` is an alias of.
    pub external_name: Option<String>,
    /// The first address, or `None`.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// All addresses, or `None`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Option<Vec<String>>,
    /// The families of the addresses that are asked for.
    pub ip_families: Option<Vec<String>>,
    /// How many families.
    pub ip_family_policy: Option<String>,
    /// Its ports.
    pub ports: Option<Vec<ServicePort>>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ServicePort {
    /// The label of its SRV name.
    pub name: Option<String>,
    /// The number in the SRV record.
    pub port: i32,
    /// TCP unless given.
    pub protocol: Option<String>,
}

/// `multicluster.x-k8s.io/v1alpha1/ServiceImport`, of the Multi-Cluster Services API
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceImport {
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What is imported.
    pub spec: Option<ServiceImportSpec>,
}

/// `spec` of a `ServiceImport`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceImportSpec {
    /// `ClusterSetIP` or `Headless`.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// Its addresses.
    pub ips: Option<Vec<String>>,
    /// Its ports.
    pub ports: Option<Vec<ServicePort>>,
}

/// `discovery.k8s.io/v1/EndpointSlice`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    /// Name, and labels, among them the service's name.
    pub metadata: ObjectMeta,
    /// Its endpoints; the API server writes none as `null`.
    #[serde(deserialize_with = "null_is_none")]
    pub endpoints: Vec<Endpoint>,
    /// The ports of all of them.
    pub ports: Option<Vec<EndpointPort>>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses.
    #[serde(deserialize_with = "null_is_none")]
    pub addresses: Vec<String>,
    /// Whether it is ready.
    pub conditions: Option<EndpointConditions>,
    /// The label of its own name.
    pub hostname: Option<String>,
    /// The pod.
    pub target_ref: Option<ObjectReference>,
}

/// `conditions` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Absent means yes.
    pub ready: Option<bool>,
}

/// A port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    /// The label of its SRV name.
    pub name: Option<String>,
    /// The number in the SRV record.
    pub port: Option<i32>,
    /// TCP unless given.
    pub protocol: Option<String>,
}

/// What another object is called.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ObjectReference {
    /// Its name.
    pub name: Option<String>,
}

/// `v1/Pod`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What has become of it.
    pub status: Option<PodStatus>,
}

/// `status` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// Whether it runs.
    pub phase: Option<String>,
    /// Its first address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
}

fn null_is_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
