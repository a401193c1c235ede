//! Help, and wrong command lines.

use crate::daemon::run;

#[test]
fn help_teaches_with_examples() {
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["query", "--help"],
        &["stats", "--help"],
        &["kernel", "--help"],
        &["check", "--help"],
        &["check-config", "--help"],
        &["rbac", "--help"],
        &["help", "serve"],
    ] {
        let output = run(args);
        assert_eq!(output.code, 0, "{args:?}");
        assert!(output.stdout.contains("Examples:"), "{args:?}");
        assert_eq!(output.stderr, "", "{args:?}");
    }
    let output = run(&["--version"]);
    assert_eq!(
        output.stdout,
        format!("hopzero {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn wrong_command_lines_are_refused_with_what_is_expected() {
    let serve = |args: &[&'static str]| [&["serve", "--manifests", "/nonexistent"], args].concat();
    let table = [
        (vec![], "Usage"),
        (vec!["nonsense"], "nonsense"),
        (vec!["serve"], "--manifests"),
        (vec!["check", "--attach", "a/b"], "ip link"),
        (vec!["check", "--timeout", "0"], "1..=600"),
        (vec!["check", "--output", "yaml"], "json"),
        (vec!["check", "--context", "a"], "--kubeconfig"),
        (serve(&["--listen", "1053"]), "127.0.0.1:1053"),
        (serve(&["--listen", "localhost:53"]), "127.0.0.1:1053"),
        (serve(&["--zone", "a..b"]), "--zone"),
        (serve(&["--zone", "."]), "cluster.local"),
        (serve(&["--ttl", "3601"]), "3600"),
        (serve(&["--ttl", "5s"]), "--ttl"),
        (serve(&["--service-cidr", "10.96.0.0"]), "--service-cidr"),
        (serve(&["--log-format", "xml"]), "plain"),
        (serve(&["--log-level", "a=b=c"]), "--log-level"),
        (serve(&["--lease", "1"]), "2..=60"),
        (serve(&["--attach", "veth1"]), "--answer-for 10.96.0.10"),
        (
            serve(&["--attach", "a/b", "--answer-for", "10.96.0.10"]),
            "ip link",
        ),
        (
            serve(&["--attach", "veth1,", "--answer-for", "10.96.0.10"]),
            "ip link",
        ),
        (
            serve(&["--attach", "veth1", "--answer-for", "dns"]),
            "10.96.0.10",
        ),
        (
            serve(&["--attach", "veth1", "--answer-for", "0.0.0.0"]),
            "unicast",
        ),
        (serve(&["--hook", "egress"]), "xdp-generic"),
        (
            serve(&["--conf", "Corefile", "--loadbalance", "off"]),
            "cannot be used with",
        ),
        (serve(&["--names-max", "0"]), "--names-max"),
        (serve(&["--vlan", "0"]), "1..=4094"),
        (serve(&["--vlan", "4095"]), "1..=4094"),
        (serve(&["--vlan", "1"].repeat(9)), "at most 8"),
        (serve(&["--rate-limit", "1000001"]), "1000000"),
        (serve(&["--rate-limit", "many"]), "--rate-limit"),
        (serve(&["--trusted", "veth1"]), "--attach"),
        (vec!["query"], "NAME"),
        (vec!["query", "a..b"], "a..b"),
        (vec!["query", "web", "NONSENSE"], "AAAA"),
        (
            vec!["query", "web", "--server", "127.0.0.1"],
            "127.0.0.1:1053",
        ),
        (vec!["query", "web", "--timeout", "0"], "0.5"),
        (vec!["query", "web", "--timeout", "soon"], "0.5"),
        (vec!["stats", "extra"], "extra"),
        (vec!["kernel"], "<STATE>"),
        (vec!["kernel", "maybe"], "off, on"),
        (vec!["kernel", "off", "--hook", "egress"], "xdp"),
        (
            vec!["kernel", "off", "--hook", "tc", "--zone", "cluster.local"],
            "cannot be used with",
        ),
    ];
    for (args, shown) in table {
        let output = run(&args);
        assert_eq!(output.code, 2, "{args:?}: {output:?}");
        assert!(output.stderr.contains(shown), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
    }
}
