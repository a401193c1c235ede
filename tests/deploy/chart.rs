//! What the chart says, for some sets of values.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, anyhow, ensure};
use hopzero::sandbox::capabilities::{Needs, needed};
use hopzero_tests::{daemon, harness::Test};
use serde_json::{Value, json};

use crate::render::{self, Objects};

/// In place of CoreDNS, as `deploy.sh` of CoreDNS's deployment repository would be told.
pub const SERVE: [&str; 4] = [
    "--set",
    "mode=serve",
    "--set",
    "cluster.dnsAddresses={10.32.0.10},cluster.domain=example.internal,cluster.reverseCIDRs={10.32.0.0/16,10.200.0.0/16}",
];

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("helm lint --strict", lint),
        Test::new("deploy/manifests is what the chart renders", fresh),
        Test::new("accelerate, as it comes", accelerate),
        Test::new("accelerate, everything else than usual", accelerate_else),
        Test::new("serve at another address, domain and reverse zones", serve),
        Test::new("serve with two families and stub domains", serve_dual),
        Test::new(
            "serve as an endpoint of the Service that is there",
            serve_beside,
        ),
        Test::new("serve with a Corefile of one's own", serve_corefile),
        Test::new("without anything that is optional", bare),
        Test::new("privileges", privileges),
        Test::new("the role is what `hopzero rbac` prints", rbac),
        Test::new("the daemon knows every option", options),
    ]
}

fn lint() -> Result<()> {
    for arguments in [&[][..], &SERVE[..]] {
        let arguments = [&["--strict"], arguments].concat();
        let linted = render::run(&["lint"], &arguments)?;
        linted.map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

fn fresh() -> Result<()> {
    let manifests = render::deploy().join("manifests");
    let mut seen = 0;
    for entry in fs::read_dir(manifests.join("values"))? {
        let values = entry?.path();
        let name = values.file_name().context("no name")?;
        let rendered = render::text(&["--values", &values.to_string_lossy()])?;
        let kept = fs::read_to_string(manifests.join(name)).unwrap_or_default();
        // The first line says where it comes from.
        let (head, kept) = kept.split_once('\n').unwrap_or_default();
        ensure!(
            head.starts_with('#') && kept == rendered,
            "{} is not what the chart renders: run `cargo xtask manifests`",
            name.display()
        );
        seen += 1;
    }
    ensure!(seen == 2, "{seen} sets of values");
    Ok(())
}

fn equal(what: &str, found: &Value, expected: &Value) -> Result<()> {
    ensure!(found == expected, "{what}: {found} instead of {expected}");
    Ok(())
}

fn accelerate() -> Result<()> {
    let objects = Objects::new(&[])?;
    let expected = [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "DaemonSet",
    ];
    ensure!(objects.kinds() == expected, "{:?}", objects.kinds());
    let arguments = [
        "accelerate",
        "--config-map=kube-system/coredns",
        "--service=kube-system/kube-dns",
        "--attach=pods",
        "--hook=auto",
        "--pin=/sys/fs/bpf/hopzero",
        "--log-level=info",
    ];
    let found = objects.arguments()?;
    ensure!(found == arguments, "{found:?}");
    let container = objects.container()?;
    for probe in ["livenessProbe", "readinessProbe"] {
        let command = &container[probe]["exec"]["command"];
        equal(probe, command, &json!(["/hopzero", "stats"]))?;
    }
    equal("ports", &container["ports"], &Value::Null)?;
    let role = objects.one("Role")?;
    let expected = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["coredns"], "verbs": ["list", "watch"]}]);
    equal("Role", &role["rules"], &expected)
}

fn accelerate_else() -> Result<()> {
    let objects = Objects::new(&[
        "--set",
        "accelerate.configMap=dns/rke2-coredns,cluster.dnsAddresses={10.43.0.10,fd00::a}",
        "--set",
        "attach.to={pods:calico,eth0},attach.exclude={cali0*},attach.hook=tc,rateLimitPerSecond=50",
        "--set",
        "extraArgs={--lease=5},updateStrategy.maxUnavailable=10%,nameOverride=dns,logLevel=debug",
        "--set",
        "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef,image.pullSecrets={one}",
        "--set",
        "pin.directory=/run/bpf/dns,pin.detachOnExit=true",
    ])?;
    let arguments = [
        "accelerate",
        "--config-map=dns/rke2-coredns",
        "--attach=pods:calico",
        "--attach=eth0",
        "--exclude=cali0*",
        "--hook=tc",
        "--answer-for=10.43.0.10",
        "--answer-for=fd00::a",
        "--rate-limit=50",
        "--pin=/run/bpf/dns",
        "--detach-on-exit",
        "--log-level=debug",
        "--lease=5",
    ];
    let found = objects.arguments()?;
    ensure!(found == arguments, "{found:?}");
    let set = objects.one("DaemonSet")?;
    equal("name", &set["metadata"]["name"], &json!("dns"))?;
    let update = &set["spec"]["updateStrategy"];
    let expected =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}});
    equal("updateStrategy", update, &expected)?;
    let pod = &set["spec"]["template"]["spec"];
    let mounts = objects.container()?["volumeMounts"].as_array();
    let mount = json!({"name": "bpffs", "mountPath": "/run/bpf"});
    ensure!(mounts.is_some_and(|all| all.contains(&mount)), "{mounts:?}");
    equal("pull", &pod["imagePullSecrets"], &json!([{"name": "one"}]))?;
    let image = objects.container()?["image"].as_str().unwrap_or_default();
    ensure!(
        image.ends_with(
            "hopzero@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        ),
        "{image}"
    );
    let role = &objects.one("Role")?["metadata"];
    equal("namespace of the Role", &role["namespace"], &json!("dns"))
}

fn serve() -> Result<()> {
    let objects = Objects::new(&SERVE)?;
    let corefile = objects.corefile()?;
    let line = "kubernetes example.internal 10.32.0.0/16 10.200.0.0/16 {";
    ensure!(corefile.contains(line), "{corefile}");
    let found = objects.arguments()?;
    ensure!(found.contains(&"--answer-for=10.32.0.10"), "{found:?}");
    ensure!(found.contains(&"--conf=/etc/hopzero/Corefile"), "{found:?}");
    let spec = &objects.one("Service")?["spec"];
    equal("clusterIPs", &spec["clusterIPs"], &json!(["10.32.0.10"]))?;
    equal("family", &spec["ipFamilyPolicy"], &json!("SingleStack"))?;
    // The Service finds the pods.
    let pod = &objects.one("DaemonSet")?["spec"]["template"];
    for (label, value) in spec["selector"].as_object().context("no selector")? {
        equal(label, &pod["metadata"]["labels"][label], value)?;
    }
    let container = objects.container()?;
    for (probe, port) in [("livenessProbe", 8080), ("readinessProbe", 8181)] {
        equal(probe, &container[probe]["httpGet"]["port"], &json!(port))?;
        ensure!(
            corefile.contains(&format!("127.0.0.1:{port}")),
            "{corefile}"
        );
    }
    understood(corefile)
}

/// `hopzero check-config` takes it, with the variables that the pod has.
fn understood(corefile: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("Corefile");
    fs::write(&path, corefile)?;
    let output = Command::new(daemon::binary()?)
        .arg("check-config")
        .arg(&path)
        .env("HOPZERO_NODE_IP", "127.0.0.1")
        .output()?;
    ensure!(
        output.status.success(),
        "{}\n{corefile}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn serve_dual() -> Result<()> {
    let objects = Objects::new(&[
        "--set",
        "mode=serve,cluster.dnsAddresses={10.96.0.10,fd00:10:96::a},serve.bind={eth0,lo},serve.localAddresses={169.254.20.10},serve.pods=verified",
        "--set",
        "serve.stubDomains.example\\.internal={10.1.2.3,10.1.2.4},serve.service.trafficDistribution=PreferSameNode",
        "--set",
        "podMonitor.enabled=true,podMonitor.labels.team=dns,networkPolicy.enabled=true,serve.ports.metrics=9253",
        "--set-json",
        "networkPolicy.metricsFrom=[{\"namespaceSelector\":{\"matchLabels\":{\"monitoring\":\"true\"}}}]",
    ])?;
    let spec = &objects.one("Service")?["spec"];
    equal(
        "family",
        &spec["ipFamilyPolicy"],
        &json!("RequireDualStack"),
    )?;
    equal(
        "distribution",
        &spec["trafficDistribution"],
        &json!("PreferSameNode"),
    )?;
    let corefile = objects.corefile()?;
    for line in [
        "    bind eth0 lo 169.254.20.10\n",
        "\nexample.internal:53 {\n",
        "    forward . 10.1.2.3 10.1.2.4 {\n",
        "    prometheus :9253\n",
    ] {
        ensure!(corefile.contains(line), "no {line:?} in {corefile}");
    }
    let monitor = objects.one("PodMonitor")?;
    equal(
        "label",
        &monitor["metadata"]["labels"]["team"],
        &json!("dns"),
    )?;
    let ports = objects.container()?["ports"]
        .as_array()
        .context("no ports")?;
    let port = &monitor["spec"]["podMetricsEndpoints"][0]["port"];
    ensure!(
        ports.iter().any(|known| known["name"] == *port),
        "{ports:?}"
    );
    let policy = &objects.one("NetworkPolicy")?["spec"]["ingress"];
    equal("queries", &policy[0]["from"], &Value::Null)?;
    equal("metrics", &policy[1]["ports"][0]["port"], &json!(9253))?;
    ensure!(policy[1]["from"][0]["namespaceSelector"].is_object());
    let rules = objects.one("ClusterRole")?["rules"].to_string();
    ensure!(rules.contains("pods"), "{rules}");
    understood(&corefile.replace("eth0", "127.0.0.1").replace(" lo\n", "\n"))
}

fn serve_beside() -> Result<()> {
    let beside = ["--set", "serve.service.enabled=false"];
    let objects = Objects::new(&[&SERVE[..], &beside].concat())?;
    ensure!(
        !objects.kinds().contains(&"Service"),
        "{:?}",
        objects.kinds()
    );
    let pod = &objects.one("DaemonSet")?["spec"]["template"]["metadata"];
    equal("label", &pod["labels"]["k8s-app"], &json!("kube-dns"))?;
    // And beside CoreDNS nothing of ours is an endpoint.
    let objects = Objects::new(&[])?;
    let pod = &objects.one("DaemonSet")?["spec"]["template"]["metadata"];
    equal("label", &pod["labels"]["k8s-app"], &Value::Null)
}

const OWN: &str = ".:53 {\n    kubernetes cluster.local {\n        pods verified\n    }\n}\n";

const IMPORTS: &str = ".:53 {\n    kubernetes cluster.local clusterset.local {\n        multicluster clusterset.local\n    }\n}\n";

fn serve_corefile() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("Corefile");
    fs::write(&path, OWN)?;
    let own = format!("serve.corefile={}", path.display());
    let objects = Objects::new(&[&SERVE[..], &["--set-file", &own]].concat())?;
    let corefile = objects.corefile()?;
    ensure!(corefile.trim() == OWN.trim(), "{corefile}");
    understood(corefile)
}

fn bare() -> Result<()> {
    let objects = Objects::new(&[
        "--set",
        "rbac.create=false,serviceAccount.create=false,serviceAccount.name=dns,tolerations=null,priorityClassName=high,pin.directory=",
    ])?;
    ensure!(objects.kinds() == ["DaemonSet"], "{:?}", objects.kinds());
    let set = &objects.one("DaemonSet")?["spec"];
    let update = &set["updateStrategy"]["rollingUpdate"];
    equal("update", update, &json!({"maxUnavailable": 1}))?;
    let pod = &set["template"]["spec"];
    ensure!(!pod.to_string().contains("bpf"), "{pod}");
    equal("account", &pod["serviceAccountName"], &json!("dns"))?;
    equal("priority", &pod["priorityClassName"], &json!("high"))?;
    equal("tolerations", &pod["tolerations"], &Value::Null)
}

fn privileges() -> Result<()> {
    let of = |sockets| {
        let needs = Needs {
            kernel: true,
            addresses: false,
            sockets,
        };
        let names = needed(needs).map(|row| row.name.trim_start_matches("CAP_"));
        names.collect::<Vec<_>>()
    };
    let (accelerate, serve) = (of(false), of(true));
    for (arguments, capabilities) in [(&[][..], &accelerate[..]), (&SERVE[..], &serve[..])] {
        let objects = Objects::new(arguments)?;
        let expected = json!({
            "runAsUser": 0,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": capabilities},
        });
        let container = objects.container()?;
        equal("container", &container["securityContext"], &expected)?;
        let pod = &objects.one("DaemonSet")?["spec"]["template"]["spec"];
        let expected = json!({"seccompProfile": {"type": "RuntimeDefault"}});
        equal("pod", &pod["securityContext"], &expected)?;
        equal("network", &pod["hostNetwork"], &json!(true))?;
        equal(
            "class",
            &pod["priorityClassName"],
            &json!("system-node-critical"),
        )?;
        ensure!(container["resources"]["limits"]["memory"].is_string());
        // Nothing of the host's files but what is pinned.
        for volume in pod["volumes"].as_array().context("no volumes")? {
            let path = &volume["hostPath"];
            let bpffs = json!({"path": "/sys/fs/bpf", "type": "Directory"});
            ensure!(path.is_null() || *path == bpffs, "{volume}");
        }
    }
    Ok(())
}

fn hopzero(arguments: &[&str]) -> Result<String> {
    let output = Command::new(daemon::binary()?)
        .args(arguments)
        .env("HOPZERO_NODE_IP", "127.0.0.1")
        .output()?;
    ensure!(
        output.status.success(),
        "hopzero {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the daemon has an option.
fn has(subcommand: &str, option: &str) -> Result<bool> {
    let help = hopzero(&[subcommand, "--help"])?;
    let words = help.split(|c: char| c.is_whitespace() || c == ',' || c == '=');
    Ok(words.into_iter().any(|word| word == option))
}

fn rbac() -> Result<()> {
    let verified = ["--set", "serve.pods=verified"];
    let own = tempfile::tempdir()?;
    let imports = own.path().join("Corefile");
    fs::write(&imports, IMPORTS)?;
    let imports = format!("serve.corefile={}", imports.display());
    let imports = ["--set-file", &imports];
    for arguments in [
        &SERVE[..],
        &[&SERVE[..], &verified].concat(),
        &[&SERVE[..], &imports].concat(),
    ] {
        let objects = Objects::new(arguments)?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("Corefile");
        fs::write(&path, objects.corefile()?)?;
        let printed = hopzero(&["rbac", "--conf", &path.to_string_lossy()])?;
        let printed = Objects::parse(&printed)?;
        let (found, expected) = (objects.one("ClusterRole")?, printed.one("ClusterRole")?);
        equal("ClusterRole", &found["rules"], &expected["rules"])?;
        equal(
            "name",
            &found["metadata"]["name"],
            &expected["metadata"]["name"],
        )?;
    }
    let objects = Objects::new(&[])?;
    let mut arguments = vec!["rbac"];
    let map = "--accelerate";
    if has("rbac", map)? {
        arguments.extend([map, "kube-system/coredns"]);
    }
    let printed = Objects::parse(&hopzero(&arguments)?)?;
    for kind in printed.kinds() {
        let (found, expected) = (objects.one(kind)?, printed.one(kind)?);
        equal(kind, &found["rules"], &expected["rules"])?;
    }
    Ok(())
}

fn options() -> Result<()> {
    let all = [
        "--set",
        "attach.exclude={x},rateLimitPerSecond=1,pin.detachOnExit=true",
    ];
    for arguments in [&all[..], &[&SERVE[..], &all].concat()] {
        let objects = Objects::new(arguments)?;
        let found = objects.arguments()?;
        let (subcommand, options) = found.split_first().context("no subcommand")?;
        for option in options {
            let (name, _) = option.split_once('=').unwrap_or((option, ""));
            ensure!(has(subcommand, name)?, "hopzero {subcommand} has no {name}");
        }
    }
    Ok(())
}
