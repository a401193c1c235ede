//! `hopzero status` against `hopzero serve`.

use std::{fs, net::TcpListener, process::Stdio, time::Instant};

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE, command, run};

#[test]
fn a_synchronised_daemon_is_0() {
    let daemon = Daemon::start(&[]);
    let control = daemon.control();
    let control = control.to_str().unwrap();
    let output = run(&["status", "--control", control]);
    assert_eq!(output.code, 0, "{output:?}");
    for part in [": synchronised\n", "services", "not attached"] {
        assert!(output.stdout.contains(part), "{part}: {}", output.stdout);
    }
    let output = run(&["status", "--control", control, "--output", "json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(document["synchronised"], true);
    assert_eq!(document["pid"], daemon.child.id());
    assert_eq!(document["cluster"]["objects"]["namespaces"], 1);
    assert_eq!(document["cluster"]["objects"]["services"], 2);
    assert!(document["cluster"]["changed_unix"].as_u64() > Some(1_700_000_000));
    assert_eq!(document["kernel"], Value::Null);
}

/// An API server that takes connections and says nothing.
#[test]
fn one_that_waits_for_its_cluster_is_1() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
         clusters:\n- name: it\n  cluster: {{server: 'http://{}'}}\nusers:\n- name: it\n  user: {{}}\n\
         contexts:\n- name: it\n  context: {{cluster: it, user: it}}\n",
        silent.local_addr().unwrap()
    );
    fs::write(&file, text).unwrap();
    let control = directory.path().join("control");
    let mut daemon = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--kubeconfig"])
        .arg(&file)
        .arg("--control")
        .arg(&control)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let control = control.to_str().unwrap();
    let begun = Instant::now();
    let output = loop {
        let output = run(&["status", "--control", control]);
        // Until it listens it cannot be asked.
        if output.code != 2 || begun.elapsed() > PATIENCE {
            break output;
        }
    };
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(output.code, 1, "{output:?}");
    for part in [": not synchronised\n", "services", "not heard yet"] {
        assert!(output.stdout.contains(part), "{part}: {}", output.stdout);
    }
}

#[test]
fn no_daemon_is_2_with_its_remedy() {
    let output = run(&["status", "--control", "/nonexistent/control.sock"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""));
    for part in ["/nonexistent/control.sock", "hopzero serve", "--control"] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
    let help = run(&["status", "--help"]).stdout;
    for part in ["Exit status", "--max-age", "Synchronised means"] {
        assert!(help.contains(part), "{help}");
    }
}
