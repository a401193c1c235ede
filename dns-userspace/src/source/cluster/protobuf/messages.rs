//! The messages of objects, with the fields that are read, and what becomes of them.
//!
//! What is no pointer in Go is always there, perhaps empty, where JSON leaves it out; here empty is none.

use std::collections::BTreeMap;

use prost::{Message, bytes::Bytes};

use super::{super::trouble::Trouble, Encoded, decode};
use crate::source::objects;

const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";

impl Encoded for objects::Namespace {
    fn of_message(message: Bytes) -> Result<Self, Trouble> {
        decode::<Namespace>(message).map(Into::into)
    }
}

impl Encoded for objects::Service {
    fn of_message(message: Bytes) -> Result<Self, Trouble> {
        decode::<Service>(message).map(Into::into)
    }
}

impl Encoded for objects::EndpointSlice {
    fn of_message(message: Bytes) -> Result<Self, Trouble> {
        decode::<EndpointSlice>(message).map(Into::into)
    }
}

impl Encoded for objects::Pod {
    fn of_message(message: Bytes) -> Result<Self, Trouble> {
        decode::<Pod>(message).map(Into::into)
    }
}

impl Encoded for objects::ServiceImport {
    fn of_message(_: Bytes) -> Result<Self, Trouble> {
        let what = "custom resources have no protobuf";
        Err(Trouble::Malformed(what.to_owned()))
    }
}

/// `metadata` of every object.
#[derive(Message)]
pub struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "6")]
    pub resource_version: String,
    #[prost(message, optional, tag = "9")]
    deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// Also what metadata alone comes as (`PartialObjectMetadata`).
#[derive(Message)]
pub struct Namespace {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ObjectMeta>,
}

#[derive(Message)]
pub struct Service {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<ServiceSpec>,
}

#[derive(Message)]
struct ServiceSpec {
    #[prost(message, repeated, tag = "1")]
    ports: Vec<ServicePort>,
    #[prost(string, tag = "3")]
    cluster_ip: String,
    #[prost(string, tag = "4")]
    sort: String,
    #[prost(string, tag = "10")]
    external_name: String,
    #[prost(string, optional, tag = "17")]
    ip_family_policy: Option<String>,
    #[prost(string, repeated, tag = "18")]
    cluster_ips: Vec<String>,
    #[prost(string, repeated, tag = "19")]
    ip_families: Vec<String>,
}

#[derive(Message)]
struct ServicePort {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    protocol: String,
    #[prost(int32, tag = "3")]
    port: i32,
}

#[derive(Message)]
pub struct EndpointSlice {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, repeated, tag = "2")]
    endpoints: Vec<Endpoint>,
    #[prost(message, repeated, tag = "3")]
    ports: Vec<EndpointPort>,
}

#[derive(Message)]
struct Endpoint {
    #[prost(string, repeated, tag = "1")]
    addresses: Vec<String>,
    #[prost(message, optional, tag = "2")]
    conditions: Option<EndpointConditions>,
    #[prost(string, optional, tag = "3")]
    hostname: Option<String>,
    #[prost(message, optional, tag = "4")]
    target_ref: Option<ObjectReference>,
}

#[derive(Message)]
struct EndpointConditions {
    #[prost(bool, optional, tag = "1")]
    ready: Option<bool>,
}

#[derive(Message)]
struct EndpointPort {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    protocol: Option<String>,
    #[prost(int32, optional, tag = "3")]
    port: Option<i32>,
}

#[derive(Message)]
struct ObjectReference {
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Message)]
pub struct Pod {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "3")]
    status: Option<PodStatus>,
}

#[derive(Message)]
struct PodStatus {
    #[prost(string, tag = "1")]
    phase: String,
    #[prost(string, tag = "6")]
    pod_ip: String,
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn some<T>(all: Vec<T>) -> Option<Vec<T>> {
    Some(all).filter(|all| !all.is_empty())
}

fn metadata(metadata: Option<ObjectMeta>) -> objects::ObjectMeta {
    let mut metadata = metadata.unwrap_or_default();
    let deleted = metadata.deletion_timestamp;
    objects::ObjectMeta {
        name: given(metadata.name),
        namespace: given(metadata.namespace),
        resource_version: given(metadata.resource_version),
        deletion_timestamp: deleted.map(|time| {
            let timestamp = jiff::Timestamp::from_second(time.seconds);
            timestamp.unwrap_or_default().to_string()
        }),
        labels: Some(metadata.labels).filter(|labels| !labels.is_empty()),
        annotations: (!metadata.annotations.is_empty()).then(|| objects::Annotations {
            last_change: metadata.annotations.remove(LAST_CHANGE),
        }),
    }
}

impl From<Namespace> for objects::Namespace {
    fn from(namespace: Namespace) -> Self {
        Self {
            metadata: metadata(namespace.metadata),
        }
    }
}

impl From<Service> for objects::Service {
    fn from(service: Service) -> Self {
        let ports = |ports: Vec<ServicePort>| {
            let ports = ports.into_iter().map(|port| objects::ServicePort {
                name: given(port.name),
                port: port.port,
                protocol: given(port.protocol),
            });
            some(ports.collect())
        };
        Self {
            metadata: metadata(service.metadata),
            spec: service.spec.map(|spec| objects::ServiceSpec {
                type_: given(spec.sort),
                external_name: given(spec.external_name),
                cluster_ip: given(spec.cluster_ip),
                cluster_ips: some(spec.cluster_ips),
                ip_families: some(spec.ip_families),
                ip_family_policy: spec.ip_family_policy,
                ports: ports(spec.ports),
            }),
        }
    }
}

impl From<EndpointSlice> for objects::EndpointSlice {
    fn from(slice: EndpointSlice) -> Self {
        let endpoints = slice.endpoints.into_iter().map(|endpoint| {
            let conditions = endpoint.conditions;
            objects::Endpoint {
                addresses: endpoint.addresses,
                conditions: conditions.map(|conditions| objects::EndpointConditions {
                    ready: conditions.ready,
                }),
                hostname: endpoint.hostname,
                target_ref: endpoint.target_ref.map(|pod| objects::ObjectReference {
                    name: given(pod.name),
                }),
            }
        });
        let ports = slice.ports.into_iter().map(|port| objects::EndpointPort {
            name: port.name,
            port: port.port,
            protocol: port.protocol,
        });
        Self {
            metadata: metadata(slice.metadata),
            endpoints: endpoints.collect(),
            ports: some(ports.collect()),
        }
    }
}

impl From<Pod> for objects::Pod {
    fn from(pod: Pod) -> Self {
        Self {
            metadata: metadata(pod.metadata),
            status: pod.status.map(|status| objects::PodStatus {
                phase: given(status.phase),
                pod_ip: given(status.pod_ip),
            }),
        }
    }
}
