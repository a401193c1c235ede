//! The daemon as users run it, on the server's CPU, attached at the node's end of the veth.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero::control::{self, Report};
use hopzero_tests::{
    client::{Query, rtype},
    network::{DNS_V4, NODE_DEVICE, NODE_V4, Network, dns},
};

use crate::{
    cpu::SERVER_CPU,
    servers::daemon::{Daemon, Start},
    world,
};

/// How long it may take to have everything in the kernel.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// It runs; ended when dropped.
pub struct Ours {
    daemon: Daemon,
    control: PathBuf,
}

impl Ours {
    /// Starts it for what a kubeconfig leads to, with further properties of `kubernetes`; waits until the kernel answers.
    pub fn start(
        network: &Network,
        directory: &Path,
        kubeconfig: &Path,
        options: &str,
    ) -> Result<Self> {
        let corefile = directory.join("hopzero.Corefile");
        fs::write(
            &corefile,
            corefile_of(
                53,
                &format!("kubeconfig {}\n{options}", kubeconfig.display()),
            ),
        )?;
        let control = directory.join("control");
        let mut command = Command::new(env::current_exe()?.with_file_name("hopzero"));
        command.args(["serve", "--attach", NODE_DEVICE, "--hook", "tc"]);
        command.arg("--answer-for").arg(DNS_V4.to_string());
        command.arg("--conf").arg(&corefile);
        command.arg("--control").arg(&control);
        command.env_remove("RUST_LOG");
        let start = Start {
            label: "hopzero",
            command,
            cpu: SERVER_CPU,
            address: dns(NODE_V4),
            query: &Query::new(world::name40(0), rtype::A).bytes(),
        };
        let daemon = start
            .run(network, directory)?
            .context("cannot run hopzero")?;
        let ours = Self { daemon, control };
        let started = Instant::now();
        while !ours.report()?.synchronised {
            ensure!(started.elapsed() < PATIENCE, "hopzero is not synchronised");
            thread::sleep(LOOK);
        }
        Ok(ours)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// What it says about itself.
    pub fn report(&self) -> Result<Report> {
        Ok(control::fetch(&self.control)?)
    }
}

/// What both serve, on that port, with these properties.
pub fn corefile_of(port: u16, properties: &str) -> String {
    format!(
        ".:{port} {{\nerrors\nkubernetes cluster.local in-addr.arpa ip6.arpa {{\n{properties}\n}}\n}}\n"
    )
}

/// A kubeconfig for an API server that asks for nothing.
pub fn kubeconfig(directory: &Path, server: SocketAddr) -> Result<PathBuf> {
    let file = directory.join("scripted.kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters:\n- name: it\n  cluster: {{server: 'http://{server}'}}\n\
         users:\n- name: it\n  user: {{}}\ncontexts:\n- name: it\n  context: {{cluster: it, user: it}}\n"
    );
    fs::write(&file, text)?;
    Ok(file)
}
