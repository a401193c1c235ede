//! Objects as an API server writes them, with all that DNS has no use for.

use serde_json::{Value, json};

use crate::world::{NAMESPACE, label};

/// Where they are.
pub const NAMESPACES: &str = "/api/v1/namespaces";
/// The same of services.
pub const SERVICES: &str = "/api/v1/services";
/// The same of slices.
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// What there is in a cluster: services of one named port, each with one slice where it has endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Services with an address.
    pub cluster_ip: u32,
    /// Services without; their numbers follow.
    pub headless: u32,
    /// Endpoints of each service with an address.
    pub endpoints: u32,
    /// Endpoints of each headless service.
    pub headless_endpoints: u32,
}

impl Shape {
    /// All services.
    pub fn services(&self) -> u32 {
        self.cluster_ip + self.headless
    }

    /// Whether a service is headless.
    pub fn is_headless(&self, number: u32) -> bool {
        number >= self.cluster_ip
    }

    /// How many endpoints a service has.
    pub fn endpoints_of(&self, number: u32) -> u32 {
        if self.is_headless(number) {
            self.headless_endpoints
        } else {
            self.endpoints
        }
    }

    /// The numbers of services with a slice.
    pub fn with_slices(&self) -> impl Iterator<Item = u32> + use<> {
        let shape = *self;
        (0..self.services()).filter(move |number| shape.endpoints_of(*number) > 0)
    }
}

/// The address of a service at some time.
pub fn service_address(number: u32, time: u8) -> [u8; 4] {
    let [low, middle, high, _] = (number + 1).to_le_bytes();
    // Numbers have 20 bits: four of the second octet are left.
    [10, high | time << 4, middle, low]
}

/// The address of an endpoint at some time; of each service there are 128 at most.
pub fn endpoint_address(number: u32, endpoint: u32, time: u8) -> [u8; 4] {
    let [low, middle, high, top] = (number << 7 | endpoint).to_le_bytes();
    [172 + time, top << 4 | high, middle, low]
}

/// As text.
pub fn dotted([a, b, c, d]: [u8; 4]) -> String {
    format!("{a}.{b}.{c}.{d}")
}

/// The namespace of all of them.
pub fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE,
        "labels": {"kubernetes.io/metadata.name": NAMESPACE}}})
}

/// A service, with the address or headless.
pub fn service(number: u32, address: Option<[u8; 4]>) -> Value {
    let address = address.map_or_else(|| "None".to_owned(), dotted);
    let mut service = asked_service(number, false);
    let spec = &mut service["spec"];
    spec["clusterIP"] = json!(address);
    spec["clusterIPs"] = json!([address]);
    spec["type"] = json!("ClusterIP");
    spec["sessionAffinity"] = json!("None");
    spec["ipFamilies"] = json!(["IPv4"]);
    spec["ipFamilyPolicy"] = json!("SingleStack");
    spec["internalTrafficPolicy"] = json!("Cluster");
    service["status"] = json!({"loadBalancer": {}});
    kept(
        &mut service,
        number,
        &json!({"f:spec": {"f:internalTrafficPolicy": {}, "f:ports": {".": {},
        "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {},
        "f:targetPort": {}}}, "f:selector": {}, "f:sessionAffinity": {}, "f:type": {}}}),
    );
    service
}

/// A service as somebody asks for it.
pub fn asked_service(number: u32, headless: bool) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": label(number), "namespace": NAMESPACE, "labels": {"app": label(number)}},
        "spec": {"ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]}});
    if headless {
        service["spec"]["clusterIP"] = json!("None");
    }
    service
}

/// The slice of a service, with its first endpoint's address of some time.
pub fn slice(shape: &Shape, number: u32, time: u8) -> Value {
    let mut slice = asked_slice(shape, number, time);
    kept(
        &mut slice,
        number,
        &json!({"f:addressType": {}, "f:endpoints": {}, "f:metadata": {"f:annotations": {".": {},
        "f:endpoints.kubernetes.io/last-change-trigger-time": {}}, "f:generateName": {}, "f:labels": {".": {},
        "f:app": {}, "f:endpointslice.kubernetes.io/managed-by": {}, "f:kubernetes.io/service-name": {}}}, "f:ports": {}}),
    );
    slice
}

/// The same as the controller asks for it.
pub fn asked_slice(shape: &Shape, number: u32, time: u8) -> Value {
    let name = label(number);
    let mut labels = json!({"app": name, "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    if shape.is_headless(number) {
        labels["service.kubernetes.io/headless"] = json!("");
    }
    let endpoints = (0..shape.endpoints_of(number)).map(|endpoint| {
        let moved = if endpoint == 0 { time } else { 0 };
        let pod = format!("{name}-{:05x}", number * 31 + endpoint);
        json!({"addresses": [dotted(endpoint_address(number, endpoint, moved))],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("node-{}", endpoint % 3), "zone": "zone-a",
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod, "uid": uid(number, endpoint)}})
    });
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{name}-abcde"), "generateName": format!("{name}-"), "namespace": NAMESPACE,
            "labels": labels,
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}},
        "addressType": "IPv4", "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}

/// What the API server adds.
fn kept(object: &mut Value, number: u32, fields: &Value) {
    let metadata = &mut object["metadata"];
    metadata["uid"] = json!(uid(number, 0xffff));
    metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    metadata["managedFields"] = json!([{"manager": "kube-controller-manager", "operation": "Update",
        "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}]);
}

fn uid(number: u32, endpoint: u32) -> String {
    format!("{number:08x}-{endpoint:04x}-4000-8000-0123456789ab")
}
