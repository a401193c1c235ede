//! Who is asked: by pods, by the cluster's DNS, and by that one in turn.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    outcome::{Hints, Outcome},
    surroundings::{Surroundings, blocking},
};
use crate::{
    kernel::survey,
    plugin::{Environment, builder::PORT_DEFAULT, forward::nameservers},
    server::Servers,
    source::cluster::Access,
};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The kubelet's own configuration, where kubeadm and most others put it.
const KUBELET: &str = "/var/lib/kubelet/config.yaml";

/// Where a server asks itself.
const LOOP: Hints<'_> = Hints {
    meaning: "queries go round: in a pod 127.0.0.53 and all of 127.0.0.0/8 is the pod itself, and the cluster's DNS asking its own address asks itself. CoreDNS ends with `Loop … detected`, or names outside of the cluster time out",
    see: "cat /etc/resolv.conf; resolvectl status; kubectl -n kube-system logs -l k8s-app=kube-dns | grep -i loop",
    fix: "resolvConf: /run/systemd/resolve/resolv.conf in the kubelet's configuration, then the DNS pods anew; or the real servers' addresses in the Corefile: forward . 192.0.2.53",
};

/// The file that pods get which do not use the cluster's DNS.
fn node_file(surroundings: &Surroundings) -> PathBuf {
    let given = surroundings.args.resolv_conf.clone();
    let of_kubelet = || {
        if Access::is_in_cluster() {
            return None; // what is in the pod is what the kubelet has put there
        }
        let text = fs::read_to_string(KUBELET).ok()?;
        let config: serde_json::Value = serde_yaml_ng::from_str(&text).ok()?;
        Some(PathBuf::from(config["resolvConf"].as_str()?))
    };
    (given.or_else(of_kubelet)).unwrap_or_else(|| RESOLV_CONF.into())
}

/// Whether the cluster's DNS is behind this address.
fn is_own(surroundings: &Surroundings, address: IpAddr) -> bool {
    surroundings.dns_addresses.contains(&address) || surroundings.endpoints.contains(&address)
}

pub(super) async fn of_node(surroundings: &mut Surroundings) -> Outcome {
    let path = node_file(surroundings);
    let shown = path.display().to_string();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            return Outcome::failure(
                format!("{shown}: {error}"),
                &Hints {
                    meaning: "the kubelet cannot start pods that do not use the cluster's DNS, CoreDNS's own among them",
                    see: "ls -l /etc/resolv.conf; grep resolvConf /var/lib/kubelet/config.yaml",
                    fix: "resolvConf in the kubelet's configuration; name the file with --resolv-conf",
                },
            );
        }
    };
    let servers: Vec<IpAddr> = nameservers(&text);
    let facts = json!({"file": shown, "nameservers": servers});
    let looping: Vec<String> = (servers.iter())
        .filter(|server| server.is_loopback() || is_own(surroundings, **server))
        .map(IpAddr::to_string)
        .collect();
    let outcome = if !looping.is_empty() {
        Outcome::failure(
            format!("{shown} leads to itself: nameserver {}", looping.join(", ")),
            &LOOP,
        )
    } else if servers.is_empty() {
        Outcome::warning(
            format!("{shown} names no server"),
            &Hints {
                meaning: "names outside of the cluster are not found through this file; a resolver without one asks 127.0.0.1",
                see: "cat /etc/resolv.conf; resolvectl status",
                fix: "the network's DNS servers, by DHCP or by hand",
            },
        )
    } else {
        let texts: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
        Outcome::ok(format!("{shown}: {}", texts.join(", ")))
    };
    outcome.facts(facts)
}

pub(super) async fn of_pods(surroundings: &mut Surroundings) -> Outcome {
    let files = match blocking(files_of_pods).await {
        Ok(files) if !files.is_empty() => files,
        Ok(_) => {
            return Outcome::skipped(
                "no process of a pod is seen: run this on the node, or in a pod with hostPID",
            );
        }
        Err(error) => return Outcome::skipped(error),
    };
    let (mut wrong, mut looping) = (Vec::new(), Vec::new());
    for (pid, servers) in &files {
        for server in servers {
            if server.is_loopback() {
                looping.push(format!("process {pid}: nameserver {server}"));
            } else if !surroundings.dns_addresses.is_empty()
                && !surroundings.dns_addresses.contains(server)
            {
                wrong.push(format!("process {pid}: nameserver {server}"));
            }
        }
    }
    let facts = json!({"pods": files.len(), "looping": looping, "others": wrong});
    let outcome = if !looping.is_empty() {
        Outcome::failure(
            format!("pods ask themselves\n{}", looping.join("\n")),
            &LOOP,
        )
    } else if !wrong.is_empty() {
        Outcome::warning(
            format!(
                "pods ask others than the cluster's DNS\n{}",
                wrong.join("\n")
            ),
            &Hints {
                meaning: "these pods do not know the cluster's names, and hopzero does not see their queries; it may be meant so (dnsPolicy Default or None), or the kubelet names an address that is not the Service's",
                see: "kubectl exec POD -- cat /etc/resolv.conf; grep -A1 clusterDNS /var/lib/kubelet/config.yaml",
                fix: "clusterDNS in the kubelet's configuration as the Service's address, then the pods anew; an address that is right, such as a cache's on the node, is named with --dns-address",
            },
        )
    } else {
        Outcome::ok(format!("{} pods ask the cluster's DNS", files.len()))
    };
    outcome.facts(facts)
}

/// Of one process of each pod of this node: the servers that its resolv.conf names.
fn files_of_pods() -> BTreeMap<u32, Vec<IpAddr>> {
    let Ok(pods) = survey::namespaces_of_pods() else {
        return BTreeMap::new();
    };
    let mut seen = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    for pid in numbers {
        let Some(namespace) = survey::namespace_of(pid).filter(|id| pods.contains(id)) else {
            continue;
        };
        let path = Path::new("/proc")
            .join(pid.to_string())
            .join("root/etc/resolv.conf");
        // It may end meanwhile; or its files are another user's.
        if let Ok(text) = fs::read_to_string(path) {
            seen.entry(namespace).or_insert((pid, nameservers(&text)));
        }
    }
    seen.into_values().collect()
}

pub(super) async fn upstreams(surroundings: &mut Surroundings) -> Outcome {
    let environment = Environment::default();
    let servers = match &surroundings.corefile {
        Ok(corefile) => Servers::build(corefile, PORT_DEFAULT, &environment),
        Err(why) => return Outcome::skipped(format!("not known whom to ask: {why}")),
    };
    // The servers hold the upstreams until the end.
    let Ok(_servers) = servers else {
        return Outcome::skipped("the configuration cannot be used");
    };
    let all = environment.upstreams.addresses();
    if all.is_empty() {
        return Outcome::skipped("the configuration forwards to nobody");
    }
    // On this network loopback may have a resolver; in a pod it is the server itself.
    let is_loop = |address: IpAddr| {
        is_own(surroundings, address) || address.is_loopback() && !surroundings.is_served_here
    };
    let looping: Vec<String> = (all.iter())
        .filter(|to| is_loop(to.ip()) && to.port() == PORT_DEFAULT)
        .map(ToString::to_string)
        .collect();
    if !looping.is_empty() {
        return Outcome::failure(
            format!(
                "the cluster's DNS forwards to itself: {}",
                looping.join(", ")
            ),
            &LOOP,
        )
        .facts(json!({"upstreams": all, "looping": looping}));
    }
    let asked = match surroundings.within(environment.upstreams.ask()).await {
        Ok(asked) => asked,
        Err(why) => return Outcome::skipped(why),
    };
    let silent: Vec<String> = (asked.iter())
        .filter_map(|asked| {
            Some(format!(
                "{}: {}",
                asked.address,
                asked.result.as_ref().err()?
            ))
        })
        .collect();
    let facts = json!({"upstreams": all, "silent": silent});
    let summary = format!(
        "{} of {} upstreams answer",
        all.len() - silent.len(),
        all.len()
    );
    let outcome = if silent.is_empty() {
        Outcome::ok(summary)
    } else {
        let hints = Hints {
            meaning: "names outside of the cluster fail or take seconds; `i/o timeout`: packets are lost on the way, there or back; `connection refused`: nobody listens there",
            see: "dig @ADDRESS . NS from this node; tcpdump -ni any port 53; conntrack -S",
            fix: "firewalls and security groups (UDP and TCP 53 both ways), MASQUERADE for pods; else another server in the Corefile's `forward`",
        };
        Outcome::failure(format!("{summary}\n{}", silent.join("\n")), &hints)
    };
    outcome.facts(facts)
}
