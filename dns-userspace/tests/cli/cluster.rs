//! `hopzero serve` with an API server, over HTTP: from a kubeconfig to an answer, and how much memory that takes.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE, run};

#[path = "../../src/source/cluster/tests/server.rs"]
#[expect(dead_code, reason = "its faults are for the scripts beside it")]
mod server;

use server::Shared;

const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// What may be held while a list is read, as parts of what is held anyway.
const PEAK_MAX: (u64, u64) = (13, 10);

/// An API server on a port of its own, for the rest of the process.
fn serve(shared: &Shared) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let router = shared.router();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    address
}

fn put(shared: &Shared, path: &str, namespace: &str, name: &str, mut object: Value) {
    object["metadata"]["name"] = json!(name);
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let key = (namespace.to_owned(), name.to_owned());
    shared.lock().change(path, key, Some(object), false);
}

fn put_service(shared: &Shared, name: &str, address: &str) {
    let spec = json!({"clusterIP": address, "clusterIPs": [address], "ports": [{"name": "http", "port": 80}]});
    put(shared, SERVICES, "shop", name, json!({"spec": spec}));
}

fn kubeconfig(server: SocketAddr) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: other\n\
         clusters:\n- name: test\n  cluster: {{server: 'http://{server}'}}\n\
         - name: other\n  cluster: {{server: 'http://127.0.0.1:9'}}\n\
         users:\n- name: test\n  user: {{tokenFile: token}}\n\
         contexts:\n- name: test\n  context: {{cluster: test, user: test}}\n\
         - name: other\n  context: {{cluster: other, user: test}}\n"
    );
    fs::write(&file, text).unwrap();
    fs::write(directory.path().join("token"), "secret").unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

#[test]
fn a_kubeconfig_leads_to_answers() {
    let shared = Shared::default();
    put(&shared, "/api/v1/namespaces", "", "shop", json!({}));
    put_service(&shared, "web", "10.96.0.1");
    let (directory, file) = kubeconfig(serve(&shared));
    let daemon = Daemon::start_in(directory, &["--kubeconfig", &file, "--context", "test"]);
    let ask = || daemon.query(&["web.shop.svc.cluster.local"]).stdout;
    assert_eq!(ask(), "10.96.0.1\n");
    put_service(&shared, "web", "10.96.0.2");
    let started = Instant::now();
    while ask() != "10.96.0.2\n" {
        assert!(started.elapsed() < PATIENCE);
    }
    let (status, log) = daemon.stop(libc::SIGTERM);
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn what_cannot_be_used_is_said_with_a_remedy() {
    let (directory, file) = kubeconfig("127.0.0.1:9".parse().unwrap());
    let corefile = directory.path().join("Corefile");
    let corefile = corefile.to_str().unwrap();
    let two =
        format!(".:0 {{\n  kubernetes cluster.local {{\n    kubeconfig {file} test\n  }}\n}}\n");
    fs::write(corefile, two).unwrap();
    for (args, parts) in [
        (
            vec!["--kubeconfig", "/nonexistent/config"],
            ["/nonexistent/config", "kubectl"],
        ),
        (
            vec!["--kubeconfig", &file, "--context", "prod"],
            ["prod", "kubectl"],
        ),
        (
            vec!["--conf", corefile, "--kubeconfig", &file],
            ["context test", "name one"],
        ),
    ] {
        let output = run(&[&["serve"], &args[..]].concat());
        assert_eq!(output.code, 1, "{args:?}");
        for part in parts {
            assert!(output.stderr.contains(part), "{args:?}: {}", output.stderr);
        }
    }
}

#[test]
fn the_role_is_printed() {
    let output = run(&["rbac", "--name", "dns"]);
    assert_eq!(output.code, 0);
    for part in ["name: dns", "endpointslices", "\"list\", \"watch\""] {
        assert!(output.stdout.contains(part), "{}", output.stdout);
    }
}

/// A cluster of 10,000 services and 100,000 endpoints is 80 MB as the API server writes it. Reading it, at the start
/// and again when the API server has forgotten us, must not need much more than holding it.
#[test]
fn a_list_is_never_held_as_it_is_written() {
    let shared = Shared::default();
    put(&shared, "/api/v1/namespaces", "", "shop", json!({}));
    let padding = "x".repeat(1000);
    for number in 0..10_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let address = format!("10.97.{high}.{low}");
        let spec = json!({"clusterIP": address, "clusterIPs": [address], "ports": [{"name": "http", "port": 80}]});
        let metadata = json!({"managedFields": [{"manager": padding}]});
        put(
            &shared,
            SERVICES,
            "shop",
            &format!("s{number}"),
            json!({"metadata": metadata, "spec": spec}),
        );
    }
    for number in 0..1_000_u32 {
        let name = format!("h{number}");
        put(
            &shared,
            SERVICES,
            "shop",
            &name,
            json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
        );
        let endpoints: Vec<Value> = (0..100)
            .map(|endpoint| {
                let [_, top, high, low] = (number * 100 + endpoint).to_be_bytes();
                json!({"addresses": [format!("10.{top}.{high}.{low}")], "hostname": format!("{name}-{endpoint}"),
                    "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "uid": &padding[..500]}})
            })
            .collect();
        let labels = json!({"kubernetes.io/service-name": name, "service.kubernetes.io/headless": "",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
        let slice = json!({"metadata": {"labels": labels}, "endpoints": endpoints, "ports": []});
        put(&shared, SLICES, "shop", &name, slice);
    }
    let (directory, file) = kubeconfig(serve(&shared));
    let daemon = Daemon::start_in(directory, &["--kubeconfig", &file, "--context", "test"]);
    let memory = |field: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let number = line.split_whitespace().nth(1).unwrap();
        number.parse::<u64>().unwrap()
    };
    let lists = || {
        let asked = &shared.lock().asked;
        asked
            .iter()
            .filter(|asked| *asked == "lists endpointslices")
            .count()
    };
    let first = (memory("VmHWM"), lists());
    // Not of what the start left.
    fs::write(format!("/proc/{}/clear_refs", daemon.child.id()), "5").unwrap();
    let steady = memory("VmRSS");
    put_service(&shared, "last", "10.96.0.1");
    shared.lock().forget();
    shared.lock().cut();
    put_service(&shared, "after", "10.96.0.2");
    let started = Instant::now();
    while lists() < 2 * first.1
        || daemon
            .query(&["after.shop.svc.cluster.local"])
            .stdout
            .is_empty()
    {
        assert!(started.elapsed() < 3 * PATIENCE, "{} lists", lists());
        std::thread::sleep(Duration::from_millis(100));
    }
    let again = memory("VmHWM");
    println!(
        "kB: steady {steady}, at most at the start {}, with a new list {again}",
        first.0
    );
    for peak in [first.0, again] {
        assert!(
            peak * PEAK_MAX.1 <= steady * PEAK_MAX.0,
            "{peak} kB of {steady}"
        );
    }
}
