//! `hopzero query` against `hopzero serve`.

use std::{fmt::Write, net::UdpSocket};

use serde_json::Value;

use crate::daemon::{Daemon, run};

#[test]
fn prints_data_and_exits_by_rcode() {
    let daemon = Daemon::start(&[]);
    let web = "web.shop.svc.cluster.local";
    let table: [(&[&str], i32, &str, &str); 13] = [
        (&[web], 0, "10.96.0.10\n", ""),
        (&["WEB.Shop.svc.cluster.local.", "a"], 0, "10.96.0.10\n", ""),
        (&[web, "AAAA"], 0, "fd00::a\n", ""),
        (&[web, "TYPE28", "--tcp"], 0, "fd00::a\n", ""),
        (&["10.96.0.10"], 0, "web.shop.svc.cluster.local.\n", ""),
        (&["fd00::a"], 0, "web.shop.svc.cluster.local.\n", ""),
        (
            &["_grpc._tcp.api.shop.svc.cluster.local", "SRV"],
            0,
            "0 100 9000 api.shop.svc.cluster.local.\n",
            "",
        ),
        (&["dns-version.cluster.local", "TXT"], 0, "\"1.1.0\"\n", ""),
        (&[web, "MX"], 0, "", "NODATA"),
        (&["shop.svc.cluster.local"], 0, "", "NODATA"),
        (&["no.shop.svc.cluster.local"], 13, "", "NXDOMAIN"),
        (&["no.shop.svc.cluster.local", "--tcp"], 13, "", "NXDOMAIN"),
        (&["example.com"], 15, "", "REFUSED"),
    ];
    for (args, code, stdout, stderr) in table {
        let output = daemon.query(args);
        assert_eq!(output.code, code, "{args:?}: {output:?}");
        assert_eq!(output.stdout, stdout, "{args:?}");
        assert!(output.stderr.contains(stderr), "{args:?}: {output:?}");
        assert_eq!(output.stderr.is_empty(), stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn json_holds_the_whole_reply() {
    let daemon = Daemon::start(&["--ttl", "7"]);
    let output = daemon.query(&["--json", "web.shop.svc.cluster.local"]);
    assert_eq!(output.code, 0);
    let reply: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(reply["rcode"], "NOERROR");
    assert_eq!(reply["authoritative"], true);
    assert_eq!(reply["transport"], "udp");
    assert_eq!(reply["answer"][0]["data"], "10.96.0.10");
    assert_eq!(reply["answer"][0]["ttl"], 7);

    let output = daemon.query(&["--json", "--tcp", "no.cluster.local"]);
    assert_eq!(output.code, 13);
    let reply: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(reply["transport"], "tcp");
    assert_eq!(reply["authority"][0]["type"], "SOA");
}

#[test]
fn no_reply_has_a_code_of_its_own() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let ask = ["query", "web", "--timeout", "0.1", "--server", &server];
    let output = run(&ask);
    assert_eq!(output.code, 9, "{output:?}");
    assert!(output.stderr.contains(&server) && output.stderr.contains("0.1 s"));
    drop(silent);
    for tcp in [&[][..], &["--tcp"]] {
        let output = run(&[&ask, tcp].concat());
        assert_eq!(output.code, 9, "{output:?}");
        assert!(output.stderr.contains("hopzero serve"), "{output:?}");
    }
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let daemon = Daemon::start(&[]);
    let mut manifest = String::from(
        r"
apiVersion: v1
kind: Service
metadata: {name: many, namespace: shop}
spec: {clusterIP: None, selector: {app: many}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: many-1, namespace: shop, labels: {kubernetes.io/service-name: many}}
addressType: IPv4
endpoints:
",
    );
    for last in 1..=100 {
        writeln!(manifest, "- addresses: [10.244.0.{last}]").unwrap();
    }
    std::fs::write(
        daemon.directory.path().join("manifests/many.yaml"),
        manifest,
    )
    .unwrap();
    let started = std::time::Instant::now();
    loop {
        let output = daemon.query(&["--json", "many.shop.svc.cluster.local"]);
        if output.code == 0 {
            let reply: Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!(reply["transport"], "tcp");
            assert_eq!(reply["truncated"], false);
            assert_eq!(reply["answer"].as_array().unwrap().len(), 100);
            return;
        }
        assert!(started.elapsed() < crate::daemon::PATIENCE, "{output:?}");
    }
}
