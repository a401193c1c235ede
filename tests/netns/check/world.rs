//! A node on which all is well, to be broken.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    daemon::{Home, binary},
    loaded::attached,
    namespace::Namespace,
    network::{NODE_DEVICE, Network},
};
use serde_json::{Value, json};

use super::server::Server;
use crate::others::Foreign;

pub const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps";
pub const SERVICE: &str = "/api/v1/namespaces/kube-system/services";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices";
pub const ALL_SERVICES: &str = "/api/v1/services";
const NODE: &str = "/api/v1/nodes/node1";

/// Everything; gone when this value is.
pub struct World {
    // Dropped first.
    process: Option<Child>,
    /// What another agent has put there.
    pub foreign: Option<Foreign>,
    /// Sockets that are to stay open.
    pub silent: Vec<Box<dyn Send>>,
    pub server: Server,
    pub network: Network,
    pub home: Home,
    /// Shell commands in a mount namespace of the command's own.
    pub prelude: String,
    /// Put in front of the command.
    pub wrapper: String,
    /// bpf(2) is forbidden.
    pub without_bpf: bool,
    /// Further arguments.
    pub arguments: Vec<String>,
}

/// What the command left.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new() -> Result<Self> {
        let (network, home) = (Network::new()?, Home::empty()?);
        network.node.ip_batch(
            "link add cni0 type bridge\naddr add 10.244.5.1/24 dev cni0\nlink set cni0 up\n",
        )?;
        let server = Server::start(&network.node)?;
        let mut world = World {
            process: None,
            foreign: None,
            silent: Vec::new(),
            server,
            network,
            home,
            prelude: "mount -t bpf bpf /sys/fs/bpf".to_owned(),
            wrapper: String::new(),
            without_bpf: false,
            arguments: Vec::new(),
        };
        let upstream = world.upstream(true)?;
        world.objects();
        world.configure(&corefile(&upstream.to_string()));
        world.write("resolv.conf", "nameserver 192.0.2.53\n")?;
        world.pod("nameserver 10.96.0.10\n")?;
        world.kubeconfig(world.server.address)?;
        Ok(world)
    }

    fn objects(&self) {
        let server = &self.server;
        let dns = service(
            "kube-dns",
            &json!({"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}),
        );
        server.list(SERVICE, std::slice::from_ref(&dns));
        server.list(SLICES, &[slice(true)]);
        server.list(
            ALL_SERVICES,
            &[dns, headless(&json!(["IPv4"]), "SingleStack")],
        );
        server.one(
            NODE,
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
                "spec": {"podCIDR": "10.244.0.0/16", "podCIDRs": ["10.244.0.0/16"]}}),
        );
    }

    /// The cluster's Corefile.
    pub fn configure(&self, corefile: &str) {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "coredns", "namespace": "kube-system"},
            "data": {"Corefile": corefile}});
        self.server.list(CONFIG_MAP, &[map]);
    }

    /// An upstream on the node, which answers everything or nothing.
    pub fn upstream(&mut self, answers: bool) -> Result<SocketAddr> {
        let socket = self.network.node.udp("10.244.5.1:0".parse()?)?;
        let address = socket.local_addr()?;
        if answers {
            thread::spawn(move || reply(&socket));
        } else {
            self.silent.push(Box::new(socket));
        }
        Ok(address)
    }

    /// The pod's process, and its resolv.conf.
    pub fn pod(&mut self, resolv_conf: &str) -> Result<()> {
        self.end_pod();
        let pod = &self.network.pod;
        pod.write_etc("resolv.conf", resolv_conf)?;
        let child = Command::new("ip")
            .args(["netns", "exec", pod.name(), "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()?;
        let root = format!("/proc/{}/root/etc/resolv.conf", child.id());
        self.process = Some(child);
        // By then it is in its namespaces.
        for _ in 0..1000 {
            if fs::read_to_string(&root).is_ok_and(|text| text == resolv_conf) {
                return Ok(());
            }
            thread::sleep(std::time::Duration::from_millis(5));
        }
        anyhow::bail!("the pod's process has no resolv.conf of its own")
    }

    fn end_pod(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn write(&self, file: &str, text: &str) -> Result<PathBuf> {
        let path = self.home.path().join(file);
        fs::write(&path, text)?;
        Ok(path)
    }

    pub fn kubeconfig(&self, server: SocketAddr) -> Result<()> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters:\n- name: test\n  cluster: {{server: 'http://{server}'}}\n\
             users:\n- name: test\n  user: {{}}\n\
             contexts:\n- name: test\n  context: {{cluster: test, user: test}}\n"
        );
        self.write("kubeconfig", &text)?;
        Ok(())
    }

    /// Runs `hopzero check` on the node; at the pod's device there is the same before and after.
    pub fn check(&self, output: &str) -> Result<Ended> {
        let before = self.programs()?;
        let path = |file: &str| self.home.path().join(file).display().to_string();
        let own = [
            ("--control", self.home.control().display().to_string()),
            ("--kubeconfig", path("kubeconfig")),
            ("--resolv-conf", path("resolv.conf")),
            ("--node", "node1".to_owned()),
            ("--timeout", "3".to_owned()),
            ("--output", output.to_owned()),
        ]
        .into_iter();
        let is_default =
            |(name, _): &(&str, String)| !self.arguments.iter().any(|given| given == name);
        let script = format!("set -e; {}; exec {} \"$@\"", self.prelude, self.wrapper);
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .arg(binary()?)
            .arg("check")
            .args(
                own.filter(is_default)
                    .flat_map(|(name, value)| [name.to_owned(), value]),
            )
            .args(&self.arguments)
            .env_remove("RUST_LOG")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null());
        self.network.node.enter(&mut command)?;
        if self.without_bpf {
            forbid_bpf(&mut command);
        }
        let output = command.output().context("cannot start unshare")?;
        let after = self.programs()?;
        ensure!(
            before == after,
            "at {NODE_DEVICE}: {before:?} before, {after:?} after"
        );
        Ok(Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    fn programs(&self) -> Result<BTreeSet<u32>> {
        Ok(attached(&self.network.node, NODE_DEVICE)?
            .into_iter()
            .collect())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end_pod();
    }
}

/// The usual one.
pub fn corefile(upstream: &str) -> String {
    format!(
        ".:53 {{\n    errors\n    kubernetes cluster.local in-addr.arpa ip6.arpa\n    forward . {upstream}\n    cache 30\n}}\n"
    )
}

pub fn service(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "kube-system"}, "spec": spec})
}

/// One that selects pods.
pub fn headless(families: &Value, policy: &str) -> Value {
    service(
        "db",
        &json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"app": "db"},
        "ipFamilies": families, "ipFamilyPolicy": policy}),
    )
}

/// Where the cluster's DNS is.
pub fn slice(ready: bool) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns-1", "namespace": "kube-system"},
        "addressType": "IPv4", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}],
        "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": ready}}]})
}

/// Sends each query back as a response without records.
fn reply(socket: &UdpSocket) {
    let mut message = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut message) {
        message[2] |= 0x80;
        let _ = socket.send_to(&message[..length], client);
    }
}

/// As a container's seccomp profile does.
fn forbid_bpf(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;

    let statement = |code: u32, jump: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: jump,
        k,
    };
    let filter = [
        // The system call's number is the first word of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            u32::try_from(libc::SYS_bpf).unwrap_or_default(),
        ),
        statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(),
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: between fork and exec only prctl is called, a plain system call; it reads the filter, which the closure owns.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog {
                len: u16::try_from(filter.len()).unwrap_or_default(),
                filter: filter.as_ptr().cast_mut(),
            };
            match libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// A socket of a daemon that accepts and says nothing.
pub fn hung(namespace: &Namespace) -> Result<SocketAddr> {
    let listener = namespace.tcp("127.0.0.1:0".parse()?)?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            open.push(stream);
        }
    });
    Ok(address)
}
