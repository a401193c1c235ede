//! A real control plane in the node's namespace, with objects.

use std::{
    fs,
    future::Future,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use hopzero_tests::namespace::Namespace;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

use super::objects::{self, Shape};
use crate::{
    cpu,
    world::{NAMESPACE, label},
};

/// Requests under way at a time.
const TOGETHER: u32 = 32;
/// What the program writes as its token.
const TOKEN: &str = "hopzero-test-cluster";
/// The kernel's unit of times in /proc, a second's part.
const TICKS_PER_SECOND: f64 = 100.0;

/// It runs; ended when dropped.
pub struct Plane {
    child: Child,
    /// It ends when this is closed.
    stdin: Option<ChildStdin>,
    directory: PathBuf,
    /// Where the API server listens, in the namespace.
    pub server: SocketAddr,
}

impl Plane {
    /// Starts it, with its files below `directory`.
    pub fn start(binary: &Path, namespace: &Namespace, directory: &Path) -> Result<Self> {
        let directory = directory.join("plane");
        let mut command = Command::new(binary);
        command.arg("up").arg(&directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        namespace.enter(&mut command)?;
        let mut child = command.spawn().context("cannot start the control plane")?;
        let output = child.stdout.take().context("no output")?;
        let mut plane = Plane {
            stdin: child.stdin.take(),
            child,
            directory,
            server: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        for line in BufReader::new(output).lines() {
            if line? == "ready" {
                let kubeconfig = Kubeconfig::read_from(plane.directory.join("kubeconfig"))?;
                let cluster = kubeconfig
                    .clusters
                    .first()
                    .and_then(|named| named.cluster.as_ref());
                let url = cluster.and_then(|cluster| cluster.server.as_deref());
                let address = url.and_then(|url| url.strip_prefix("https://"));
                plane.server = address.context("no address")?.parse()?;
                return Ok(plane);
            }
        }
        bail!("the control plane ended before it was ready")
    }

    /// A kubeconfig that goes to the API server by another address, which forwards.
    pub fn kubeconfig(&self, by: SocketAddr, name: &str) -> Result<PathBuf> {
        let text = fs::read_to_string(self.directory.join("kubeconfig"))?;
        let file = self.directory.join(name);
        fs::write(
            &file,
            text.replace(&self.server.to_string(), &by.to_string()),
        )?;
        Ok(file)
    }

    /// What a pod has of its service account, in a directory.
    pub fn service_account(&self) -> Result<PathBuf> {
        let directory = self.directory.join("service-account");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("token"), TOKEN)?;
        fs::write(directory.join("namespace"), "default")?;
        fs::copy(
            self.directory.join("certificates/apiserver.crt"),
            directory.join("ca.crt"),
        )?;
        Ok(directory)
    }

    /// Creates all objects.
    pub fn fill(&self, namespace: &Namespace, shape: &Shape) -> Result<()> {
        let shape = *shape;
        self.with_client(namespace, self.server, async move |client: Client| {
            post(&client, objects::NAMESPACES, &objects::namespace()).await?;
            let services = format!("/api/v1/namespaces/{NAMESPACE}/services");
            each(
                shape.services(),
                &client,
                async move |client: &Client, number| {
                    post(
                        client,
                        &services,
                        &objects::asked_service(number, shape.is_headless(number)),
                    )
                    .await
                },
            )
            .await?;
            let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices");
            each(
                shape.services(),
                &client,
                async move |client: &Client, number| {
                    if shape.endpoints_of(number) == 0 {
                        return Ok(());
                    }
                    post(client, &slices, &objects::asked_slice(&shape, number, 0)).await
                },
            )
            .await
        })
    }

    /// Changes `count` objects a little: services, or their slices; from a number on.
    pub fn touch(&self, namespace: &Namespace, slices: bool, from: u32, count: u32) -> Result<()> {
        self.with_client(namespace, self.server, async move |client: Client| {
            each(count, &client, async move |client: &Client, number| {
                let name = label(from + number);
                let path = if slices {
                    format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/{name}-abcde")
                } else {
                    format!("/api/v1/namespaces/{NAMESPACE}/services/{name}")
                };
                let request = http::Request::patch(path)
                    .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
                    .body(format!(r#"{{"metadata":{{"labels":{{"touched":"{}"}}}}}}"#, fastrand::u32(..)).into_bytes())?;
                client.request_text(request).await?;
                Ok(())
            })
            .await
        })
    }

    /// Does something with a client of the API server, in its namespace, by that address.
    pub fn with_client<T: Send, F: Future<Output = Result<T>>>(
        &self,
        namespace: &Namespace,
        by: SocketAddr,
        work: impl FnOnce(Client) -> F + Send,
    ) -> Result<T> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(by, "client.kubeconfig")?)?;
        namespace.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let config =
                    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                        .await?;
                work(Client::try_from(config)?).await
            })
        })
    }

    /// From now on its processes run on that CPU alone.
    pub fn pin(&self, cpu: usize) -> Result<()> {
        cpu::pin_threads(self.child.id(), cpu)?;
        for (pid, _) in self.parts()? {
            cpu::pin_threads(pid, cpu)?;
        }
        Ok(())
    }

    /// The API server's process.
    pub fn api_server(&self) -> Result<u32> {
        let parts = self.parts()?;
        let found = parts.iter().find(|(_, part)| part == "apiserver");
        Ok(found.context("no API server")?.0)
    }

    /// Processes that it has started, and what each is.
    fn parts(&self) -> Result<Vec<(u32, String)>> {
        let mut parts = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            // Processes come and go.
            let (Ok(status), Ok(line)) = (
                fs::read_to_string(entry.path().join("status")),
                fs::read_to_string(entry.path().join("cmdline")),
            ) else {
                continue;
            };
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
            if parent.map(str::trim) == Some(&self.child.id().to_string()) {
                parts.push((pid, line.split('\0').nth(1).unwrap_or_default().to_owned()));
            }
        }
        Ok(parts)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// CPU-seconds that a process has taken.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may have spaces: state is field 3, utime 14, stime 15.
    let (_, fields) = stat.rsplit_once(") ").context("no fields")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

async fn post(client: &Client, path: &str, object: &Value) -> Result<()> {
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(object.to_string().into_bytes())?;
    client
        .request_text(request)
        .await
        .with_context(|| path.to_owned())?;
    Ok(())
}

/// Does it for all numbers, some of them together.
async fn each(
    count: u32,
    client: &Client,
    work: impl AsyncFn(&Client, u32) -> Result<()>,
) -> Result<()> {
    let strands = (0..TOGETHER).map(|strand| {
        let work = &work;
        async move {
            for number in (strand..count).step_by(TOGETHER as usize) {
                work(client, number).await?;
            }
            Ok(())
        }
    });
    futures_util::future::try_join_all(strands)
        .await
        .map(|_: Vec<()>| ())
}
