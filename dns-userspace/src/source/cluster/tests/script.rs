//! Scripts: what happens in a cluster and to its API server, and what the zone says meanwhile.
//!
//! ```text
//! namespace shop                      comes or changes; so do the next ones
//! service shop/web 10.96.0.1          `None`: headless
//! services shop/s 1200                s0 to s1199
//! slice shop/web-1 of web 10.1.0.1 10.1.0.2        by the controller, for a headless service
//! slice shop/web-2 by somebody of web 10.1.0.3     by another controller
//! pod shop/web-0 10.1.0.1 Running     with that address, in that phase
//! delete service shop/web
//! delete everything in shop           services and slices, one after the other, then the namespace
//! quietly service shop/web 10.96.0.2  no watch is told; any of the above
//! start                               hopzero begins
//! start with pods                     and watches pods, for `pods verified`
//! wait 5s
//! web.shop -> 10.96.0.1               what the zone says now, as addresses or an error
//! always web.shop -> 10.96.0.1        and from now on after each batch, until `never mind`
//! asked lists services 2              how often that was asked since it was last looked at
//! 10-1-0-1.shop.pod -> 10.1.0.1       the name of a pod's address
//! counted repairs 1                   a counter, over all watches
//! aged services 7200s                 the API server has said nothing of them for about that long
//! refuse lists with 403               or audits, watches, streams, pages (all but first), version, all; `refuse nothing`
//! cut, forget, freeze, thaw           watches end; old versions are forgotten; watches are half open, and not
//! part, meet                          nothing gets through any more, and again
//! lag, catch up, backup, restore      it shows an older cluster; the cluster itself is set back
//! stale service shop/web 10.96.0.9    an event with an old version
//! kubernetes 34                       which streams lists; 31 unless given
//! streams off                         but the feature is off
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::rr::{Name, RData, RecordType};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::server::{self, Shared};
use crate::{
    plugin::metrics::Metrics,
    source::{
        Source,
        cluster::{Cluster, ClusterMetrics, Connection, Wanted},
    },
    zone::{Pods, Shown, Zone, ZoneConfig},
};

const BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// A name and what is said of it.
type Said = (String, String);

struct Stage {
    server: Shared,
    metrics: Metrics,
    zone: Arc<Mutex<Zone>>,
    always: Arc<Mutex<Vec<Said>>>,
    /// What was said otherwise.
    broken: Arc<Mutex<Vec<String>>>,
    other: Option<server::Cluster>,
    /// So many of what was asked have been looked at.
    looked_at: BTreeMap<String, usize>,
}

/// Plays a script.
pub async fn play(script: &str) {
    let mut stage = Stage::new();
    for (at, line) in script.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty()
            && let Err(error) = stage.step(line).await
        {
            panic!("line {}: {line}: {error}", at + 1);
        }
        let broken = stage.broken.lock().expect("no panic").clone();
        assert!(broken.is_empty(), "line {}: {broken:?}", at + 1);
    }
}

impl Stage {
    fn new() -> Self {
        let server = Shared::default();
        server.lock().minor = 31;
        server.lock().streams_lists = true;
        Self {
            server,
            metrics: Metrics::default(),
            zone: Arc::new(Mutex::new(Zone::new(zone_config()))),
            always: Arc::default(),
            broken: Arc::default(),
            other: None,
            looked_at: BTreeMap::new(),
        }
    }

    async fn step(&mut self, line: &str) -> Result<(), String> {
        if let Some((name, said)) = line.split_once(" -> ") {
            return self.said(name, said);
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["start"] => self.start(Wanted::default()),
            ["start", "with", "pods"] => self.start_with_pods(),
            ["start", "with", "imports"] => self.start_with_imports(),
            ["wait", time] => {
                let seconds = time.trim_end_matches('s').parse().expect("seconds");
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            ["never", "mind"] => self.always.lock().expect("no panic").clear(),
            ["asked", what, of, times] => return self.asked(&format!("{what} {of}"), times),
            ["counted", what, times] => return self.counted(what, times),
            ["cut"] => self.server.lock().cut(),
            ["forget"] => self.server.lock().forget(),
            ["aged", watch, time] => return self.aged(watch, time),
            ["part" | "meet"] => {
                let mut server = self.server.lock();
                server.partitioned = words[0] == "part";
                server.frozen = server.partitioned;
            }
            ["freeze"] => self.server.lock().frozen = true,
            ["thaw"] => self.server.lock().frozen = false,
            ["refuse", "nothing"] => self.server.lock().refused = None,
            ["refuse", what, "with", code] => {
                let code = code.parse().expect("a status");
                self.server.lock().refused = Some((what.to_owned(), code));
            }
            ["backup"] => self.other = Some(self.server.lock().cluster.clone()),
            ["lag"] => self.server.lock().shown.clone_from(&self.other),
            ["catch", "up"] => self.server.lock().shown = None,
            ["restore"] => {
                let mut server = self.server.lock();
                server.cluster = self.other.clone().expect("a backup");
                server.forget();
                server.cut();
            }
            ["kubernetes", minor] => self.server.lock().minor = minor.parse().expect("a number"),
            ["streams", "off"] => self.server.lock().streams_lists = false,
            ["stale", "service", name, address] => {
                let (_, mut object) = service(name, address);
                object["metadata"]["resourceVersion"] = json!("1");
                let event = json!({"type": "MODIFIED", "object": object});
                self.server.lock().tell(&event);
            }
            ["quietly", ref change @ ..] => self.change(change, true),
            ref change => self.change(change, false),
        }
        Ok(())
    }

    fn change(&self, words: &[&str], quietly: bool) {
        let mut server = self.server.lock();
        let mut put = |path: &str, (key, object): ((String, String), Value)| {
            server.change(path, key, Some(object), quietly);
        };
        match words {
            ["namespace", name] => put(NAMESPACES, namespace(name)),
            ["service", name, address] => put(SERVICES, service(name, address)),
            ["services", prefix, count] => {
                for number in 0..count.parse::<u16>().expect("a number") {
                    let [high, low] = number.to_be_bytes();
                    put(
                        SERVICES,
                        service(&format!("{prefix}{number}"), &format!("10.97.{high}.{low}")),
                    );
                }
            }
            ["slice", name, "of", of, addresses @ ..] => {
                put(SLICES, slice(name, of, CONTROLLER, addresses));
            }
            ["slice", name, "by", by, "of", of, addresses @ ..] => {
                put(SLICES, slice(name, of, by, addresses));
            }
            ["import", name, address] => put(IMPORTS, import(name, address)),
            ["imported", name, "of", of, "in", cluster, addresses @ ..] => {
                put(SLICES, imported(name, of, cluster, addresses));
            }
            ["pod", name, address, phase] => put(PODS, pod(name, address, phase)),
            ["delete", "everything", "in", name] => {
                for path in [SERVICES, SLICES, PODS] {
                    for key in server.keys(path) {
                        if key.0 == *name {
                            server.change(path, key, None, quietly);
                        }
                    }
                }
                server.change(
                    NAMESPACES,
                    (String::new(), (*name).to_owned()),
                    None,
                    quietly,
                );
            }
            ["delete", "namespace", name] => {
                server.change(
                    NAMESPACES,
                    (String::new(), (*name).to_owned()),
                    None,
                    quietly,
                );
            }
            ["delete", kind, name] => {
                let path = match *kind {
                    "slice" => SLICES,
                    "pod" => PODS,
                    "import" => IMPORTS,
                    _ => SERVICES,
                };
                let key = key(name);
                assert!(server.object(path, &key).is_some(), "it is there");
                server.change(path, key, None, quietly);
            }
            _ => panic!("no such verb"),
        }
    }

    fn start_with_pods(&mut self) {
        let config = ZoneConfig {
            shown: Shown {
                pods: Pods::Verified,
                ..Shown::default()
            },
            ..zone_config()
        };
        *self.zone.lock().expect("no panic") = Zone::new(config);
        self.start(Wanted {
            pods: true,
            ..Wanted::default()
        });
    }

    fn start_with_imports(&mut self) {
        let set = Name::from_ascii("clusterset.local.").expect("a name");
        let config = ZoneConfig {
            others: vec![set.clone()],
            multicluster: vec![set],
            shown: Shown {
                imports: true,
                ..Shown::default()
            },
            ..zone_config()
        };
        *self.zone.lock().expect("no panic") = Zone::new(config);
        self.start(Wanted {
            imports: true,
            ..Wanted::default()
        });
    }

    fn start(&mut self, wanted: Wanted) {
        let connection = Connection::of_client(Client::new(self.server.router(), "default"));
        let metrics = self.metrics.of::<ClusterMetrics>();
        let cluster = Cluster::new(connection, wanted, metrics);
        let (sender, mut batches) = mpsc::channel(16);
        tokio::spawn(cluster.run(sender, CancellationToken::new()));
        let (zone, always) = (Arc::clone(&self.zone), Arc::clone(&self.always));
        let broken = Arc::clone(&self.broken);
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                let mut zone = zone.lock().expect("no panic");
                zone.apply(batch, 1);
                for (name, said) in &*always.lock().expect("no panic") {
                    let now = ask(&zone, name);
                    if now != *said {
                        let text = format!("{name} -> {now} for a moment, not {said}");
                        broken.lock().expect("no panic").push(text);
                    }
                }
            }
        });
    }

    fn said(&self, name: &str, said: &str) -> Result<(), String> {
        let (name, always) = match name.strip_prefix("always ") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let now = ask(&self.zone.lock().expect("no panic"), name);
        if now != said {
            return Err(now);
        }
        if always {
            let mut all = self.always.lock().expect("no panic");
            all.push((name.to_owned(), said.to_owned()));
        }
        Ok(())
    }

    fn asked(&mut self, what: &str, times: &str) -> Result<(), String> {
        let asked = &self.server.lock().asked;
        let all = asked.iter().filter(|asked| *asked == what).count();
        let before = self.looked_at.insert(what.to_owned(), all).unwrap_or(0);
        match (all - before).to_string() {
            found if found == times => Ok(()),
            found => Err(found),
        }
    }

    fn aged(&self, watch: &str, time: &str) -> Result<(), String> {
        const SLACK: f64 = 60.0;
        let time: f64 = time.trim_end_matches('s').parse().expect("seconds");
        let text = self.metrics.text();
        let begin = format!("hopzero_kubernetes_data_age_seconds{{watch=\"{watch}\"}} ");
        let age: Option<f64> = (text.lines())
            .find_map(|line| line.strip_prefix(&begin))
            .and_then(|age| age.parse().ok());
        let is_so = age.is_some_and(|age| (time - SLACK..=time + SLACK).contains(&age));
        is_so.then_some(()).ok_or_else(|| format!("{age:?}"))
    }

    fn counted(&self, what: &str, times: &str) -> Result<(), String> {
        let what = what
            .replace("repairs", "audit_repairs_total")
            .replace("lists", "lists_total");
        // `errors/forbidden` is one of several reasons.
        let (family, reason) = match what.split_once('/') {
            Some((_, reason)) => ("watch_errors_total", format!("reason=\"{reason}\"")),
            None => (what.as_str(), String::new()),
        };
        let text = self.metrics.text();
        let lines = text.lines().filter(|line| {
            line.starts_with(&format!("hopzero_kubernetes_{family}{{")) && line.contains(&reason)
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        let sum: u64 = values.sum();
        let is_so = match times.strip_prefix('>') {
            Some(more) => sum > more.parse().expect("a number"),
            None => sum.to_string() == times,
        };
        is_so.then_some(()).ok_or_else(|| sum.to_string())
    }
}

fn zone_config() -> ZoneConfig {
    ZoneConfig {
        origin: Name::from_ascii("cluster.local.").expect("a name"),
        ttl: 5,
        ..ZoneConfig::default()
    }
}

const PODS: &str = "/api/v1/pods";
const IMPORTS: &str = "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports";
const NAMESPACES: &str = "/api/v1/namespaces";
const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

fn ask(zone: &Zone, name: &str) -> String {
    let (name, domain) = match name.strip_suffix(".set") {
        Some(name) => (name, "clusterset.local."),
        None => (name, "cluster.local."),
    };
    let below = match name.rsplit_once('.') {
        Some((_, "pod")) => "",
        _ => ".svc",
    };
    let name = Name::from_ascii(format!("{name}{below}.{domain}")).expect("a name");
    let answer = zone.lookup(&name, RecordType::A).expect("a name of ours");
    if answer.answers.is_empty() {
        return match answer.rcode.low() {
            0 => "NODATA".to_owned(),
            2 => "SERVFAIL".to_owned(),
            3 => "NXDOMAIN".to_owned(),
            other => other.to_string(),
        };
    }
    let addresses = answer.answers.iter().map(|record| match &record.data {
        RData::A(address) => address.to_string(),
        other => other.to_string(),
    });
    addresses.collect::<Vec<_>>().join(" ")
}

fn key(name: &str) -> (String, String) {
    let (namespace, name) = name.split_once('/').expect("NAMESPACE/NAME");
    (namespace.to_owned(), name.to_owned())
}

fn namespace(name: &str) -> ((String, String), Value) {
    let object = json!({"metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}});
    ((String::new(), name.to_owned()), object)
}

fn service(name: &str, address: &str) -> ((String, String), Value) {
    let key = key(name);
    let object = json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": key.1, "namespace": key.0, "managedFields": [{"manager": "kubectl"}]},
        "spec": {"clusterIP": address, "clusterIPs": [address], "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}]},
        "status": {"loadBalancer": {}},
    });
    (key, object)
}

fn pod(name: &str, address: &str, phase: &str) -> ((String, String), Value) {
    let key = key(name);
    let object = json!({"metadata": {"name": key.1, "namespace": key.0},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
        "status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}], "hostIP": "10.0.0.1"}});
    (key, object)
}

fn import(name: &str, address: &str) -> ((String, String), Value) {
    let key = key(name);
    let spec = match address {
        "None" => json!({"type": "Headless", "ports": [{"port": 80, "protocol": "TCP"}]}),
        _ => json!({"type": "ClusterSetIP", "ips": [address],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
    };
    let object = json!({"metadata": {"name": key.1, "namespace": key.0}, "spec": spec});
    (key, object)
}

fn imported(name: &str, of: &str, cluster: &str, addresses: &[&str]) -> ((String, String), Value) {
    let (key, mut object) = slice(name, of, "somebody", addresses);
    object["metadata"]["labels"] = json!({BY: "somebody",
        "multicluster.kubernetes.io/service-name": of,
        "multicluster.kubernetes.io/source-cluster": cluster});
    (key, object)
}

fn slice(name: &str, of: &str, by: &str, addresses: &[&str]) -> ((String, String), Value) {
    let key = key(name);
    let mut labels = json!({"kubernetes.io/service-name": of, BY: by});
    if by == CONTROLLER {
        labels["service.kubernetes.io/headless"] = json!("");
    }
    let endpoints = addresses.iter().map(|address| {
        json!({"addresses": [address], "conditions": {"ready": true, "serving": true},
            "nodeName": "node-1", "targetRef": {"kind": "Pod", "name": "web-0", "uid": "1"}})
    });
    let endpoints: Vec<_> = endpoints.collect();
    // No endpoints are written as null.
    let endpoints = if endpoints.is_empty() {
        Value::Null
    } else {
        json!(endpoints)
    };
    let object = json!({"metadata": {"name": key.1, "namespace": key.0, "labels": labels},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 80}]});
    (key, object)
}
