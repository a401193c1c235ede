//! What a service account must be allowed, against a real API server with authorization on: with exactly the role that
//! `hopzero rbac` prints the daemon has everything, whatever its options; with one verb less it says which is missing.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    beside::{
        peer::{Client, Peer, Software},
        plane::{self, Plane},
        question::Asked,
    },
    daemon,
    harness::{self, Test},
};

const NAMES: [&str; 2] = [
    "the role is enough, whatever the options",
    "without one verb it says which is missing",
];
/// How long it may take until everything is known, or what is missing is said.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is refused is not tried again sooner.
const REST: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);
const SOA: u16 = 6;

/// Properties of `kubernetes` that want different objects, and some that do not.
const OPTIONS: [&str; 11] = [
    "",
    "pods insecure",
    "pods verified",
    "endpoint_pod_names",
    "noendpoints",
    "ignore empty_service",
    "namespaces default kube-system",
    "namespace_labels kubernetes.io/metadata.name=default\nlabels tier=front",
    "multicluster clusterset.local",
    "multicluster clusterset.local\nnoendpoints",
    "pods verified\nendpoint_pod_names\nignore empty_service\nttl 30\nfallthrough\nmulticluster clusterset.local",
];
/// Those of them for which the most is watched.
const MOST: usize = 10;

fn main() -> ExitCode {
    let binary = plane::binary();
    let skipped = binary.as_ref().err().map(ToString::to_string);
    let binary = binary.unwrap_or_default();
    let [enough, missing] = NAMES;
    let other = binary.clone();
    harness::run_plain(vec![
        Test::new(enough, move || with_each_option(&binary)).unless(skipped.clone()),
        Test::new(missing, move || without_each_verb(&other)).unless(skipped),
    ])
}

fn with_each_option(binary: &Path) -> Result<()> {
    let plane = Plane::start(binary)?;
    for (index, options) in OPTIONS.iter().enumerate() {
        let case = Case::new(&plane, binary, &format!("all-{index}"), options)?;
        let role = case.role()?;
        case.allow(&role)?;
        let peer = case.start()?;
        let begun = Instant::now();
        while !is_synchronised(&peer)? {
            ensure!(
                begun.elapsed() < PATIENCE,
                "{options:?} with\n{role}\n{}",
                peer.log()
            );
            thread::sleep(LOOK);
        }
        let log = peer.whole_log();
        println!(
            "{options:?}: {} verbs, {:.1} s",
            verbs(&role).len(),
            begun.elapsed().as_secs_f32()
        );
        ensure!(!log.contains("panicked"), "{log}");
        // Its kind is not there, which is said and holds nothing up.
        let definition =
            "CustomResourceDefinition serviceimports.multicluster.x-k8s.io is not installed";
        ensure!(
            log.contains(definition) == options.contains("multicluster"),
            "{options:?}: {log}"
        );
    }
    Ok(())
}

fn without_each_verb(binary: &Path) -> Result<()> {
    let plane = Plane::start(binary)?;
    plane.define_imports()?;
    let whole = Case::new(&plane, binary, "whole", OPTIONS[MOST])?.role()?;
    let all = verbs(&whole);
    ensure!(all.len() == 10, "list and watch of five resources: {all:?}");
    for (index, (resource, verb)) in all.iter().enumerate() {
        let case = Case::new(&plane, binary, &format!("less-{index}"), OPTIONS[MOST])?;
        case.allow(&without(&whole, resource, verb))?;
        let peer = case.start()?;
        let said = format!("cannot {verb} resource \\\"{resource}\\\"");
        let said = [said.clone(), said.replace('\\', "")];
        let begun = Instant::now();
        let log = loop {
            let log = peer.whole_log();
            if said.iter().any(|said| log.contains(said)) {
                break log;
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "{} is not said:\n{log}",
                said[1]
            );
            thread::sleep(LOOK);
        };
        ensure!(log.contains("hopzero rbac"), "no remedy:\n{log}");
        thread::sleep(REST);
        ensure!(
            !is_synchronised(&peer)?,
            "{verb} of {resource} is not needed, it seems:\n{log}"
        );
    }
    println!("{} verbs, each of which is needed", all.len());
    Ok(())
}

/// A service account with a kubeconfig of its own.
struct Case<'a> {
    plane: &'a Plane,
    binary: &'a Path,
    name: String,
    folder: tempfile::TempDir,
}

impl<'a> Case<'a> {
    fn new(plane: &'a Plane, binary: &'a Path, name: &str, options: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let corefile = format!(
            ".:{{$PORT}} {{\nerrors\nkubernetes cluster.local clusterset.local in-addr.arpa ip6.arpa {{\nkubeconfig {{$KUBECONFIG}} hopzero\n{options}\n}}\n}}\n"
        );
        fs::write(folder.path().join("Corefile"), corefile)?;
        let case = Self {
            plane,
            binary,
            name: name.to_owned(),
            folder,
        };
        case.kubectl(&["create", "serviceaccount", name])?;
        let token = case.kubectl(&["create", "token", name])?;
        let admin = fs::read_to_string(plane.kubeconfig())?;
        let own: Vec<String> = (admin.lines())
            .map(|line| match line.split_once("token:") {
                Some((before, _)) => format!("{before}token: {}", token.trim()),
                None => line.to_owned(),
            })
            .collect();
        fs::write(case.kubeconfig(), own.join("\n"))?;
        Ok(case)
    }

    fn kubeconfig(&self) -> String {
        self.folder.path().join("kubeconfig").display().to_string()
    }

    /// What `hopzero rbac` prints for the Corefile.
    fn role(&self) -> Result<String> {
        let output = Command::new(daemon::binary()?)
            .args(["rbac", "--name", &self.name, "--conf"])
            .arg(self.folder.path().join("Corefile"))
            .env("PORT", "0")
            .env("KUBECONFIG", self.kubeconfig())
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The account gets this role, and no other.
    fn allow(&self, role: &str) -> Result<()> {
        let name = &self.name;
        // One that was printed for another has its name.
        let role: Vec<String> = (role.lines())
            .map(|line| match line.split_once("  name: ") {
                Some(("", _)) => format!("  name: {name}"),
                _ => line.to_owned(),
            })
            .collect();
        self.plane.kubectl(&["create"], &role.join("\n"))?;
        self.kubectl(&[
            "create",
            "clusterrolebinding",
            name,
            &format!("--clusterrole={name}"),
            &format!("--serviceaccount=default:{name}"),
        ])?;
        Ok(())
    }

    fn start(&self) -> Result<Peer> {
        let kubeconfig = self.kubeconfig();
        Peer::start(
            Software::Hopzero,
            self.folder.path(),
            &[("KUBECONFIG", &kubeconfig)],
        )
    }

    fn kubectl(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(self.binary)
            .arg("kubectl")
            .args(args)
            .env("KUBECONFIG", self.plane.kubeconfig())
            .output()
            .context("cannot run kubectl")?;
        ensure!(
            output.status.success(),
            "kubectl {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Until then the zone's own name is SERVFAIL.
fn is_synchronised(peer: &Peer) -> Result<bool> {
    let seen = peer.ask(&Client::new()?, &Asked::plain("cluster.local", SOA))?;
    Ok(seen.rcode == 0)
}

/// Each resource of a role with each of its verbs.
fn verbs(role: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut resource = "";
    for line in role.lines() {
        if let Some(rest) = line.trim().strip_prefix("resources: ") {
            resource = rest.trim_matches(['[', ']', '"']);
        } else if let Some(rest) = line.trim().strip_prefix("verbs: ") {
            let verbs = rest.trim_matches(['[', ']']).split(", ");
            found
                .extend(verbs.map(|verb| (resource.to_owned(), verb.trim_matches('"').to_owned())));
        }
    }
    found
}

/// The role without a verb of a resource.
fn without(role: &str, resource: &str, verb: &str) -> String {
    let mut is_meant = false;
    let lines = role.lines().map(|line| {
        if let Some(rest) = line.trim().strip_prefix("resources: ") {
            is_meant = rest.trim_matches(['[', ']', '"']) == resource;
        } else if is_meant && line.trim().starts_with("verbs: ") {
            let other = if verb == "list" { "watch" } else { "list" };
            return format!("  verbs: [\"{other}\"]");
        }
        line.to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}
