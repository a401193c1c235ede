//! Each check: broken so, it says this. The exit status follows: 1 for a failure, else 0.

use std::os::unix::net::UnixListener;

use anyhow::Result;
use aya::programs::{LinkOrder, tc::TcAttachOptions};
use hopzero_tests::network::POD_DEVICE;
use serde_json::json;

use super::world::{
    ALL_SERVICES, CONFIG_MAP, SERVICE, SLICES, World, corefile, headless, hung, service, slice,
};
use crate::others::Foreign;

/// How a check is broken, and what it says then.
pub struct Row {
    pub check: &'static str,
    pub how: &'static str,
    pub status: &'static str,
    /// Of its sentence.
    pub words: &'static [&'static str],
    pub break_it: fn(&mut World) -> Result<()>,
}

macro_rules! rows {
    ($($check:literal $how:literal $status:literal [$($words:literal),*] $break_it:expr;)*) => {
        pub const ROWS: &[Row] = &[$(Row {
            check: $check,
            how: $how,
            status: $status,
            words: &[$($words),*],
            break_it: $break_it,
        }),*];
    };
}

#[rustfmt::skip]
rows! {
    "kernel" "old" "failure" ["Linux 2.6", "too old"] |world| { wrapped(world, "setarch --uname-2.6"); Ok(()) };
    "capabilities" "without_perfmon" "failure" ["CAP_PERFMON missing"]
        |world| { wrapped(world, "setpriv --bounding-set -perfmon,-sys_admin"); Ok(()) };
    "capabilities" "without_any" "failure" ["CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON missing"]
        |world| { wrapped(world, "setpriv --bounding-set -all"); Ok(()) };
    "programs" "seccomp" "failure" ["cannot be loaded", "Operation not permitted"]
        |world| { world.without_bpf = true; Ok(()) };
    "programs" "without_capabilities" "skipped" ["capabilities"]
        |world| { wrapped(world, "setpriv --bounding-set -all"); Ok(()) };
    "btf" "none" "warning" ["/sys/kernel/btf/vmlinux", "No such file"]
        |world| { prepared(world, "mount -t tmpfs none /sys/kernel/btf"); Ok(()) };
    "bpffs" "not_mounted" "warning" ["/sys/fs/bpf is there, but no BPF file system"]
        |world| { prepared(world, "mount -t tmpfs none /sys/fs/bpf"); Ok(()) };

    "devices" "unknown" "failure" ["no network device nosuch0"] |world| { with(world, &["--attach", "nosuch0"]); Ok(()) };
    "devices" "none" "warning" ["no device of a pod"] |world| { with(world, &["--attach", "nosuch*"]); Ok(()) };
    "devices" "hung_daemon" "failure" ["no result within 3 s"] hung_daemon;
    "hooks" "tcx" "warning" ["pod0: tcx foreign_ends (id "] foreign_tcx;
    "hooks" "xdp" "warning" ["pod0: xdp-generic foreign_xdp (id "] foreign_xdp;
    "self-test" "place_taken" "failure" ["from 0 of 1 device", "pod0: cannot attach to pod0 with xdp-generic", "foreign_xdp"]
        |world| { foreign_xdp(world)?; with(world, &["--hook", "xdp-generic"]); Ok(()) };
    "self-test" "down" "warning" ["from 0 of 1 device", "pod0: the device is down"]
        |world| world.network.pod.ip_batch(&format!("link set {POD_DEVICE} down\n"));

    "api-server" "closed" "failure" ["kubeconfig", "Connection refused"]
        |world| world.kubeconfig("127.0.0.1:9".parse()?);
    "api-server" "silent" "failure" ["no answer within 3 s"] silent_api_server;
    "api-server" "unauthorised" "failure" ["refused by the test (401)"]
        |world| { world.server.refuse("/version", 401); Ok(()) };
    "api-server" "no_kubeconfig" "failure" ["/nonexistent/config"]
        |world| { with(world, &["--kubeconfig", "/nonexistent/config"]); Ok(()) };
    "dns-service" "none" "failure" ["there is no Service kube-system/kube-dns"]
        |world| { world.server.list(SERVICE, &[]); Ok(()) };
    "dns-service" "no_udp" "failure" ["no cluster IP with UDP port 53"]
        |world| { without_udp(world); Ok(()) };
    "dns-service" "forbidden" "failure" ["refused by the test (403)"]
        |world| { world.server.refuse(SERVICE, 403); Ok(()) };
    "dns-service" "no_api_server" "skipped" ["the API server does not answer"]
        |world| world.kubeconfig("127.0.0.1:9".parse()?);
    "dns-endpoints" "not_ready" "failure" ["kube-system/kube-dns has no ready endpoint"]
        |world| { world.server.list(SLICES, &[slice(false)]); Ok(()) };
    "dns-endpoints" "none" "failure" ["kube-system/kube-dns has no ready endpoint"]
        |world| { world.server.list(SLICES, &[]); Ok(()) };
    "headless-families" "foreign" "failure" ["pods have IPv4,", "kube-system/db (IPv6)"]
        |world| { foreign_family(world); Ok(()) };
    "headless-families" "lacking" "warning" ["pods have IPv4 and IPv6,", "kube-system/db (IPv4)"]
        |world| { lacking_family(world); Ok(()) };

    "corefile" "unsupported" "failure" ["ConfigMap kube-system/coredns cannot be used", "dnssec"]
        |world| { world.configure(".:53 {\n    dnssec\n    kubernetes cluster.local\n}\n"); Ok(()) };
    "corefile" "not_mounted" "failure" ["no such directory"]
        |world| { world.configure(".:53 {\n    import /nowhere/custom/*.override\n}\n"); Ok(()) };
    "corefile" "no_config_map" "failure" ["there is no ConfigMap kube-system/coredns"]
        |world| { world.server.list(CONFIG_MAP, &[]); Ok(()) };
    "corefile" "file" "failure" ["nonsense"] corefile_of_file;

    "node-resolv-conf" "stub" "failure" ["leads to itself: nameserver 127.0.0.53"]
        |world| resolv_conf(world, "nameserver 127.0.0.53\noptions edns0 trust-ad\n");
    "node-resolv-conf" "itself" "failure" ["leads to itself: nameserver 10.96.0.10"]
        |world| resolv_conf(world, "nameserver 192.0.2.53\nnameserver 10.96.0.10\n");
    "node-resolv-conf" "empty" "warning" ["names no server"] |world| resolv_conf(world, "search example.org\n");
    "node-resolv-conf" "missing" "failure" ["/nonexistent/resolv.conf"]
        |world| { with(world, &["--resolv-conf", "/nonexistent/resolv.conf"]); Ok(()) };
    "pod-resolv-conf" "stub" "failure" ["pods ask themselves", "nameserver 127.0.0.53"]
        |world| world.pod("nameserver 127.0.0.53\n");
    "pod-resolv-conf" "others" "warning" ["others than the cluster's DNS", "nameserver 192.0.2.53"]
        |world| world.pod("nameserver 192.0.2.53\n");
    "upstreams" "silent" "failure" ["1 of 2 upstreams answer", "i/o timeout"] silent_upstream;
    "upstreams" "closed" "failure" ["0 of 1 upstreams answer", "10.244.5.1:9: ", "connection refused"]
        |world| { world.configure(&corefile("10.244.5.1:9")); Ok(()) };
    "upstreams" "itself" "failure" ["forwards to itself: 10.96.0.10:53"]
        |world| { world.configure(&corefile("10.96.0.10")); Ok(()) };
    "upstreams" "its_endpoint" "failure" ["forwards to itself: 10.244.0.9:53"]
        |world| { world.configure(&corefile("10.244.0.9")); Ok(()) };
    "upstreams" "stub" "failure" ["forwards to itself: 127.0.0.53:53"] stub_by_file;

    "bridge-address" "outside" "failure" ["cni0 has 10.99.0.1", "outside", "10.244.0.0/16"]
        |world| world.network.node.ip_batch("addr flush dev cni0\naddr add 10.99.0.1/24 dev cni0\n");
    "bridge-address" "another_node_s" "failure" ["cni0 has 10.244.5.1", "10.244.7.0/24"]
        |world| { with(world, &["--pod-cidr", "10.244.7.0/24"]); Ok(()) };
}

fn wrapped(world: &mut World, wrapper: &str) {
    wrapper.clone_into(&mut world.wrapper);
}

fn prepared(world: &mut World, prelude: &str) {
    world.prelude = format!("{}; {prelude}", world.prelude);
}

fn with(world: &mut World, arguments: &[&str]) {
    let arguments = arguments.iter().map(|text| (*text).to_owned());
    world.arguments.extend(arguments);
}

fn resolv_conf(world: &mut World, text: &str) -> Result<()> {
    world.write("resolv.conf", text)?;
    Ok(())
}

/// Something listens, and nobody answers.
fn hung_daemon(world: &mut World) -> Result<()> {
    let listener = UnixListener::bind(world.home.control())?;
    world.silent.push(Box::new(listener));
    Ok(())
}

fn foreign_tcx(world: &mut World) -> Result<()> {
    let mut foreign = Foreign::new()?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    foreign.tc(&world.network.node, "foreign_ends", options)?;
    world.foreign = Some(foreign);
    Ok(())
}

fn foreign_xdp(world: &mut World) -> Result<()> {
    let mut foreign = Foreign::new()?;
    foreign.xdp(&world.network.node)?;
    world.foreign = Some(foreign);
    Ok(())
}

fn silent_api_server(world: &mut World) -> Result<()> {
    world.kubeconfig(hung(&world.network.node)?)
}

fn without_udp(world: &World) {
    let spec = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 53, "protocol": "TCP"}]});
    world.server.list(SERVICE, &[service("kube-dns", &spec)]);
}

fn foreign_family(world: &World) {
    let service = headless(&json!(["IPv6"]), "SingleStack");
    world.server.list(ALL_SERVICES, &[service]);
}

/// Made before the cluster had the other family.
fn lacking_family(world: &mut World) {
    let service = headless(&json!(["IPv4"]), "PreferDualStack");
    world.server.list(ALL_SERVICES, &[service]);
    with(
        world,
        &[
            "--pod-cidr",
            "10.244.0.0/16",
            "--pod-cidr",
            "fd00:10:244::/48",
        ],
    );
}

fn corefile_of_file(world: &mut World) -> Result<()> {
    let file = world.write("Corefile", ".:53 {\n    nonsense\n}\n")?;
    with(world, &["--conf", &file.display().to_string()]);
    Ok(())
}

fn silent_upstream(world: &mut World) -> Result<()> {
    let (answers, silent) = (world.upstream(true)?, world.upstream(false)?);
    world.configure(&corefile(&format!("{answers} {silent}")));
    Ok(())
}

/// As a node's resolv.conf has it where systemd-resolved runs.
fn stub_by_file(world: &mut World) -> Result<()> {
    let file = world.write("stub.conf", "nameserver 127.0.0.53\n")?;
    world.configure(&corefile(&file.display().to_string()));
    Ok(())
}
