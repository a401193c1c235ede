//! A node in miniature.
//!
//! ```text
//!   pod n                         node
//!   eth0 10.245.0.n ───── podN ─ cni0 10.245.0.1            an API server on loopback
//!        fd00:10:245::n           │   fd00:10:245::1
//!                                 └─ nftables: 10.96.0.10 → 10.245.0.1:53, CoreDNS
//!                                              fd00:10:96::a → [fd00:10:245::1]:53
//! ```

use std::{
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use hopzero_tests::{
    beside::{plane::Plane, upstream},
    client::{Query, ask_udp, rtype, summary},
    daemon::{Daemon, Home},
    namespace::Namespace,
    network::{DNS_V4, dns},
    node::{Node, Pod},
};

/// Where CoreDNS listens.
pub const COREDNS: &str = "10.245.0.1";
/// And here, too, for tests in which it is to be two endpoints.
const COREDNS_TOO: &str = "10.245.0.254";
/// And here over IPv6.
const COREDNS_V6: &str = "fd00:10:245::1";
/// How long what is started may take.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);

/// Translates the Service's address, as kube-proxy does, and makes the node count connections.
const RULES: &str = "
table ip nat {
  chain prerouting {
    type nat hook prerouting priority -100;
    ip daddr 10.96.0.10 udp dport 53 dnat to 10.245.0.1:53
    ip daddr 10.96.0.10 tcp dport 53 dnat to 10.245.0.1:53
  }
}
table ip6 nat {
  chain prerouting {
    type nat hook prerouting priority -100;
    ip6 daddr fd00:10:96::a udp dport 53 dnat to [fd00:10:245::1]:53
  }
}
";

/// What the cluster consists of.
const OBJECTS: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  ipFamilyPolicy: PreferDualStack
  clusterIP: 10.96.0.10
  clusterIPs: ['10.96.0.10', 'fd00:10:96::a']
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
ports: [{name: dns, port: 53, protocol: UDP}]
endpoints: [{addresses: ['10.245.0.1'], conditions: {ready: true}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-2, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv6
ports: [{name: dns, port: 53, protocol: UDP}]
endpoints: [{addresses: ['fd00:10:245::1'], conditions: {ready: true}}]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.20.20, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: dual, namespace: shop}
spec:
  ipFamilyPolicy: PreferDualStack
  clusterIP: 10.96.20.21
  clusterIPs: ['10.96.20.21', 'fd00:10:96::21']
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, ports: [{name: pg, port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db, service.kubernetes.io/headless: ''}}
addressType: IPv4
ports: [{name: pg, port: 5432}]
endpoints:
- {addresses: ['10.244.7.1'], hostname: db-0, conditions: {ready: true}}
- {addresses: ['10.244.7.2'], hostname: db-1, conditions: {ready: true}}
- {addresses: ['10.244.7.3'], conditions: {ready: false}}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: web.shop.svc.cluster.local}
";

/// All of it; gone when this value is.
pub struct World {
    // Dropped in this order.
    coredns: Vec<Child>,
    upstream: SocketAddr,
    pub pods: Vec<Pod>,
    pub plane: Plane,
    pub home: Home,
    pub node: Node,
}

impl World {
    /// With pods, and CoreDNS under its Corefile.
    pub fn new(coredns: &Path, plane: &Path, pods: u8) -> Result<Self> {
        let node = Node::new()?;
        // Pods' queries are translated, so it must not be an address of the node's.
        node.namespace
            .ip_batch(&format!("addr del {DNS_V4}/32 dev lo\n"))?;
        node.bridge("cni0")?;
        node.namespace.ip_batch(&format!(
            "addr add {COREDNS_TOO}/32 dev cni0\naddr add {COREDNS_V6}/64 dev cni0 nodad\n"
        ))?;
        node.namespace
            .within(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("ip_forward"))?;
        nft(&node.namespace, RULES)?;
        let pods = (0..pods)
            .map(|number| {
                let number = 2 + number;
                let pod = node.port("cni0", number)?;
                pod.namespace.ip_batch(&format!(
                    "addr add fd00:10:245::{number:x}/64 dev eth0 nodad\n\
                     route add ::/0 via {COREDNS_V6}\n"
                ))?;
                Ok(pod)
            })
            .collect::<Result<Vec<_>>>()?;
        let home = Home::empty()?;
        let plane = Plane::start_in(plane, &node.namespace)?;
        plane.kubectl(&["create"], OBJECTS)?;
        let upstream = node.namespace.within(upstream::start)?;
        let corefile = corefile(&plane, upstream, "");
        plane.kubectl(&["create"], &config_map(&corefile))?;
        let coredns = start(coredns, &node.namespace, &home, "Corefile", &corefile)?;
        let world = World {
            coredns: vec![coredns],
            upstream,
            pods,
            plane,
            home,
            node,
        };
        world.until("NOERROR 10.96.20.20")?;
        Ok(world)
    }

    /// Another CoreDNS, in a pod.
    pub fn start_in_pod(&mut self, coredns: &Path, pod: usize, corefile: &str) -> Result<()> {
        let pod = &self.pods[pod];
        let started = start(
            coredns,
            &pod.namespace,
            &self.home,
            "Corefile-pod",
            corefile,
        )?;
        self.coredns.push(started);
        Ok(())
    }

    /// Waits until the first pod's query for `web` is answered so.
    pub fn until(&self, expected: &str) -> Result<()> {
        let query = Query::new("web.shop.svc.cluster.local", rtype::A);
        let started = Instant::now();
        loop {
            let found = ask_udp(&self.pods[0].namespace, dns(DNS_V4), &query);
            let found = found.and_then(|answer| summary(&answer));
            if found.as_ref().is_ok_and(|found| found == expected) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "CoreDNS says {found:?}:\n{}",
                self.coredns_log()
            );
            thread::sleep(LOOK);
        }
    }

    pub fn coredns_log(&self) -> String {
        fs::read_to_string(self.home.path().join("coredns.log")).unwrap_or_default()
    }

    /// Starts `hopzero accelerate`, and waits until it answers.
    pub fn accelerate(&self) -> Result<Daemon> {
        let kubeconfig = self.plane.kubeconfig();
        let kubeconfig = kubeconfig.to_str().context("a path")?;
        let arguments = ["--kubeconfig", kubeconfig, "--attach", "pods:bridge"];
        let command = self
            .home
            .command(&self.node.namespace, "accelerate", &arguments)?;
        Daemon::spawn(command, &self.home)?.ready()
    }

    /// The `ConfigMap`, with more in the server block.
    pub fn configure(&self, more: &str) -> Result<()> {
        let map = config_map(&corefile(&self.plane, self.upstream, more));
        self.plane.kubectl(&["apply"], &map)?;
        Ok(())
    }

    /// Connections that the node keeps account of.
    pub fn connections(&self) -> Result<u64> {
        self.node.namespace.within(|| {
            let count = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?;
            Ok(count.trim().parse()?)
        })
    }

    /// A counter of that account, over all CPUs.
    pub fn account(&self, counter: &str) -> Result<u64> {
        let text = self.node.namespace.exec(&["conntrack", "-S"])?;
        let name = format!("{counter}=");
        let values = text
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(&name));
        values.map(|value| Ok(value.parse::<u64>()?)).sum()
    }

    /// Other rules of translation.
    pub fn translate(&self, rules: &str) -> Result<()> {
        nft(&self.node.namespace, rules)
    }

    /// Forgets all of them.
    pub fn forget_connections(&self) -> Result<()> {
        self.node.namespace.exec(&["conntrack", "-F"])?;
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for coredns in &mut self.coredns {
            let _ = coredns.kill();
            let _ = coredns.wait();
        }
    }
}

fn corefile(plane: &Plane, upstream: SocketAddr, more: &str) -> String {
    let kubeconfig = plane.kubeconfig();
    format!(
        ".:53 {{\n    bind {COREDNS} {COREDNS_TOO} {COREDNS_V6}\n    errors\n    {more}\n    kubernetes cluster.local in-addr.arpa ip6.arpa {{\n        kubeconfig {} hopzero\n        pods insecure\n        fallthrough in-addr.arpa ip6.arpa\n        ttl 30\n    }}\n    forward . {upstream}\n    loadbalance\n}}\n",
        kubeconfig.display()
    )
}

fn config_map(corefile: &str) -> String {
    let indented = corefile.replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: coredns, namespace: kube-system}}\ndata:\n  Corefile: |\n    {indented}\n"
    )
}

fn start(
    coredns: &Path,
    namespace: &Namespace,
    home: &Home,
    file: &str,
    corefile: &str,
) -> Result<Child> {
    let path = home.path().join(file);
    fs::write(&path, corefile)?;
    let log = (File::options().create(true).append(true)).open(home.path().join("coredns.log"))?;
    let mut command = Command::new(coredns);
    command
        .arg("-conf")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    namespace.enter(&mut command)?;
    command
        .spawn()
        .with_context(|| format!("cannot start {}", coredns.display()))
}

fn nft(node: &Namespace, rules: &str) -> Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped());
    node.enter(&mut command)?;
    let mut child = command
        .spawn()
        .context("cannot start nft: install nftables")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(rules.as_bytes())?;
    drop(stdin);
    let status = child.wait()?;
    if !status.success() {
        bail!("nft: {status}");
    }
    Ok(())
}
