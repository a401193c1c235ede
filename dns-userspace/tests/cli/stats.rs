//! `hopzero stats` against `hopzero serve`.

use serde_json::Value;

use crate::daemon::{Daemon, run};

#[test]
fn counts_what_was_asked() {
    let daemon = Daemon::start(&[]);
    daemon.query(&["web.shop.svc.cluster.local"]);
    daemon.query(&["example.com", "--tcp"]);
    let control = daemon.control();
    let control = control.to_str().unwrap();

    let output = run(&["stats", "--control", control, "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["pid"], daemon.child.id());
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["synchronised"], true);
    assert_eq!(report["kernel"], Value::Null);
    assert_eq!(report["socket"]["queries"]["udp"], 1);
    assert_eq!(report["socket"]["queries"]["tcp"], 1);
    assert_eq!(report["socket"]["answers"]["NOERROR"], 1);
    assert_eq!(report["socket"]["answers"]["REFUSED"], 1);

    let output = run(&["stats", "--control", control]);
    assert_eq!(output.code, 0, "{output:?}");
    for shown in [
        "synchronised",
        "not attached",
        "REFUSED",
        "source_port_zero",
    ] {
        assert!(output.stdout.contains(shown), "{}", output.stdout);
    }
}

#[test]
fn no_daemon_is_an_error_with_its_remedy() {
    let output = run(&["stats", "--control", "/nonexistent/control.sock"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.stdout, "");
    for shown in ["/nonexistent/control.sock", "hopzero serve", "--control"] {
        assert!(output.stderr.contains(shown), "{}", output.stderr);
    }
}

#[test]
fn there_is_nothing_to_switch_without_the_kernel() {
    let daemon = Daemon::start(&[]);
    let control = daemon.control();
    let control = control.to_str().unwrap();
    for state in ["off", "on"] {
        let output = run(&["kernel", state, "--control", control]);
        assert_eq!(output.code, 1, "{output:?}");
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains("--attach"), "{}", output.stderr);
    }
    let output = run(&["kernel", "off", "--control", "/nonexistent/control.sock"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("hopzero serve"), "{}", output.stderr);
}
