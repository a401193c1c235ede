//! The API server, and what it says of the cluster's DNS.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::{
    core::v1::{Service, ServiceSpec},
    discovery::v1::EndpointSlice,
};
use serde_json::json;

use super::{
    outcome::{Hints, Outcome},
    surroundings::{Surroundings, said},
};
use crate::{
    cli::accelerate::{
        objects::Wanted,
        service::{SERVICE_NAME, endpoints, own_addresses},
    },
    source::cluster::{Connection, Limits},
};

/// What is said of objects that the API server does not tell.
const NOT_TOLD: Hints<'_> = Hints {
    meaning: "hopzero cannot know what it is to answer",
    see: "kubectl auth can-i list services --as=system:serviceaccount:kube-system:hopzero",
    fix: "403: apply what `hopzero rbac` prints, and the Role of the chart; no answer: the API server is overloaded, or a NetworkPolicy is in the way",
};

pub(super) async fn api_server(surroundings: &mut Surroundings) -> Outcome {
    let Some(access) = surroundings.args.api_server.access() else {
        surroundings.connection = Err("no cluster is named: --kubeconfig".to_owned());
        return Outcome::skipped(
            "where is the cluster? Give --kubeconfig a file; in a pod it is not needed",
        );
    };
    let named = access.to_string();
    let refused = |reason: &str| {
        Outcome::failure(
            format!("{named}: {reason}"),
            &Hints {
                meaning: "no change of the cluster is seen: a daemon that runs answers what it knew last, and one that starts answers nothing",
                see: "kubectl get --raw /version; curl -k https://ADDRESS:6443/version from this node",
                fix: "the address and the certificates of the kubeconfig; in a pod: automountServiceAccountToken, and the way to the Service default/kubernetes (kube-proxy, NetworkPolicy)",
            },
        )
    };
    let connection = match Connection::new(access, Limits::default()).await {
        Ok(connection) => connection,
        Err(error) => {
            surroundings.connection = Err("the API server cannot be asked".to_owned());
            return refused(&error.to_string());
        }
    };
    let client = connection.client();
    let version = surroundings.within(client.apiserver_version()).await;
    match version.and_then(|version| version.map_err(|error| said(&error))) {
        Ok(version) => {
            surroundings.connection = Ok(connection);
            Outcome::ok(format!(
                "{named}: Kubernetes {}.{}",
                version.major, version.minor
            ))
            .facts(json!({"version": version.git_version}))
        }
        Err(reason) => {
            surroundings.connection = Err("the API server does not answer".to_owned());
            refused(&reason)
        }
    }
}

pub(super) async fn dns_service(surroundings: &mut Surroundings) -> Outcome {
    if let Err(why) = &surroundings.connection {
        return Outcome::skipped(why.clone());
    }
    let named = surroundings.args.service.clone();
    let wanted = Wanted::one(&named);
    let listed = surroundings.list::<Service>(Some(&named.namespace), &wanted);
    let services = match listed.await {
        Ok(services) => services,
        Err(error) => return Outcome::failure(format!("the Service {named}: {error}"), &NOT_TOLD),
    };
    let hints = Hints {
        meaning: "pods have no address to ask, and `hopzero accelerate` none to answer for",
        see: "kubectl -n kube-system get services -o wide",
        fix: "name the cluster's DNS Service with --service (rke2: kube-system/rke2-coredns-rke2-coredns); or make it: with a cluster IP, and UDP port 53",
    };
    let Some(service) = services.first() else {
        return Outcome::failure(format!("there is no Service {named}"), &hints);
    };
    let addresses = own_addresses(service);
    if addresses.is_empty() {
        return Outcome::failure(
            format!("the Service {named} has no cluster IP with UDP port 53"),
            &hints,
        );
    }
    surroundings.dns_addresses.extend(&addresses);
    Outcome::ok(format!("the Service {named} is {}", listed_all(&addresses)))
        .facts(json!({"addresses": addresses}))
}

pub(super) async fn dns_endpoints(surroundings: &mut Surroundings) -> Outcome {
    if let Err(why) = &surroundings.connection {
        return Outcome::skipped(why.clone());
    }
    let named = surroundings.args.service.clone();
    let wanted = Wanted {
        namespace: named.namespace.clone(),
        fields: None,
        labels: Some(format!("{SERVICE_NAME}={}", named.name)),
    };
    let listed = surroundings.list::<EndpointSlice>(Some(&named.namespace), &wanted);
    let slices = match listed.await {
        Ok(slices) => slices,
        Err(error) => {
            return Outcome::failure(
                format!("endpoints of the Service {named}: {error}"),
                &NOT_TOLD,
            );
        }
    };
    let ready: BTreeSet<IpAddr> = slices.iter().flat_map(ready_addresses).collect();
    // Network plugins that balance at the socket put these in the Service's place.
    surroundings.endpoints = slices.iter().flat_map(endpoints).collect();
    if ready.is_empty() {
        return Outcome::failure(
            format!("the Service {named} has no ready endpoint"),
            &Hints {
                meaning: "what the kernel does not answer is answered by nobody: pods wait, and fail with a timeout",
                see: "kubectl -n kube-system get endpointslices -l kubernetes.io/service-name=kube-dns; kubectl -n kube-system get pods -l k8s-app=kube-dns",
                fix: "the pods behind it: are they ready (kubectl describe, kubectl logs --previous), and does the Service's selector fit their labels?",
            },
        );
    }
    let ready: Vec<IpAddr> = ready.into_iter().collect();
    Outcome::ok(format!("ready behind it: {}", listed_all(&ready)))
        .facts(json!({"addresses": ready}))
}

/// At whatever port.
fn ready_addresses(slice: &EndpointSlice) -> Vec<IpAddr> {
    let ready = slice.endpoints.iter().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready) != Some(false)
    });
    ready
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|text| text.parse().ok())
        .collect()
}

pub(super) async fn headless_families(surroundings: &mut Surroundings) -> Outcome {
    if let Err(why) = &surroundings.connection {
        return Outcome::skipped(why.clone());
    }
    let all = Wanted {
        namespace: String::new(),
        fields: None,
        labels: None,
    };
    let services: Vec<Service> = match surroundings.list(None, &all).await {
        Ok(services) => services,
        Err(error) => return Outcome::failure(format!("the Services: {error}"), &NOT_TOLD),
    };
    let of_pods = surroundings.pod_networks().await.ok().map(|networks| {
        let families = networks.iter().map(|network| family(network.addr()));
        families.collect::<BTreeSet<_>>()
    });
    let of_services = || {
        let addresses = services.iter().flat_map(own_ips);
        addresses.map(family).collect::<BTreeSet<_>>()
    };
    let cluster = of_pods.unwrap_or_else(of_services);
    if cluster.is_empty() {
        return Outcome::skipped("neither the pods' networks nor any cluster IP is known");
    }
    let (mut foreign, mut lacking, mut headless) = (Vec::new(), Vec::new(), 0);
    for service in &services {
        let Some(spec) = service.spec.as_ref().filter(|spec| is_headless(spec)) else {
            continue;
        };
        headless += 1;
        let own: BTreeSet<&str> = spec
            .ip_families
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let metadata = &service.metadata;
        let name = format!(
            "{}/{}",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default()
        );
        // One without a selector has both by default, whatever the cluster has.
        let is_selecting = spec
            .selector
            .as_ref()
            .is_some_and(|selector| !selector.is_empty());
        let wants_both = spec
            .ip_family_policy
            .as_deref()
            .is_some_and(|policy| policy != "SingleStack");
        if is_selecting && own.iter().any(|family| !cluster.contains(family)) {
            foreign.push(format!("{name} ({})", joined(&own)));
        } else if wants_both
            && !own.is_empty()
            && cluster.iter().any(|family| !own.contains(family))
        {
            lacking.push(format!("{name} ({})", joined(&own)));
        }
    }
    let facts =
        json!({"cluster": cluster, "headless": headless, "foreign": foreign, "lacking": lacking});
    let have = joined(&cluster);
    let outcome = if !foreign.is_empty() {
        Outcome::failure(
            format!(
                "pods have {have}, but these headless Services want another family: {}",
                foreign.join(", ")
            ),
            &Hints {
                meaning: "their names have no addresses of that family, or ones that no pod has any more: A or AAAA is empty, and clients that insist fail",
                see: "kubectl get services -A -o custom-columns=NAME:.metadata.name,IP:.spec.clusterIP,FAMILIES:.spec.ipFamilies,POLICY:.spec.ipFamilyPolicy",
                fix: "ipFamilies as the cluster has them (a family can only be added behind the first: else make the Service anew), or the family added to the cluster (--cluster-cidr, --service-cluster-ip-range)",
            },
        )
    } else if !lacking.is_empty() {
        Outcome::warning(
            format!(
                "pods have {have}, but these headless Services, which want both, have one: {}",
                lacking.join(", ")
            ),
            &Hints {
                meaning: "questions for the other family are answered by NODATA; they were made before the cluster had it",
                see: "kubectl get service NAME -o jsonpath='{.spec.ipFamilies} {.spec.ipFamilyPolicy}'",
                fix: "kubectl patch service NAME -p '{\"spec\":{\"ipFamilyPolicy\":\"PreferDualStack\"}}', or SingleStack where one family is meant",
            },
        )
    } else {
        Outcome::ok(format!(
            "pods have {have}, and so have {headless} headless Services"
        ))
    };
    outcome.facts(facts)
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

fn own_ips(service: &Service) -> Vec<IpAddr> {
    let spec = service.spec.as_ref();
    let all = spec.into_iter().flat_map(|spec| {
        let own = spec.cluster_ips.iter().flatten();
        own.chain(&spec.cluster_ip)
    });
    all.filter_map(|text| text.parse().ok()).collect()
}

/// As `ipFamilies` has it.
fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn joined(families: &BTreeSet<&str>) -> String {
    families.iter().copied().collect::<Vec<_>>().join(" and ")
}

fn listed_all(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
