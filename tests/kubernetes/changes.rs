//! Objects that change a thousand times a second, and what their names may say meanwhile.
//!
//! Each name belongs to one writer, which changes it again only when the API server has taken the change before. Every
//! version has addresses of its own, so that an answer tells which version it is, and one of two versions tells itself.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use hopzero_tests::beside::history::{History, State};
use k8s_openapi::api::{
    core::v1::{Namespace, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time};

use hopzero_tests::beside::plane::Plane;

/// Changes a second, if the API server can.
const RATE: u64 = 1000;
/// Writers; each waits for one request at a time.
const WRITERS: u32 = 32;
/// Names of each.
const NAMES: u32 = 6;
const NXDOMAIN: u16 = 3;
/// How many addresses a headless service has.
const ENDPOINTS: u32 = 3;
/// Services of a namespace that comes and goes.
const CROWD: u32 = 20;
/// How long such a namespace is there.
const STAY: Duration = Duration::from_millis(700);

/// What changes about a name.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A headless service's endpoints.
    Endpoints,
    /// A service with an address comes and goes; each time with another address.
    ClusterIp,
    /// A headless service comes and goes; its endpoints stay.
    Headless,
}

/// A name that changes.
pub struct Changing {
    pub name: String,
    namespace: String,
    service: String,
    kind: Kind,
    history: Mutex<History>,
}

impl Changing {
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that changes, and who changes it.
pub struct Changes {
    pub names: Vec<Arc<Changing>>,
    client: Client,
    numbers: Arc<Numbers>,
}

#[derive(Default)]
struct Numbers {
    /// No address is given twice.
    endpoint: AtomicU32,
    cluster_ip: AtomicU32,
    /// Changes that the API server has taken.
    taken: AtomicU64,
}

impl Numbers {
    fn endpoints(&self) -> Vec<Ipv4Addr> {
        let first = self.endpoint.fetch_add(ENDPOINTS, Ordering::Relaxed);
        let base = u32::from(Ipv4Addr::new(10, 128, 0, 0));
        (first..first + ENDPOINTS)
            .map(|number| Ipv4Addr::from(base + number))
            .collect()
    }

    /// From the half of the range that the API server chooses none of by itself, as long as the other has some.
    fn cluster_ip(&self) -> Ipv4Addr {
        let number = self.cluster_ip.fetch_add(1, Ordering::Relaxed);
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 128, 0)) + number)
    }
}

impl Changes {
    /// Creates everything.
    pub async fn begin(plane: &Plane) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let changes = Changes {
            names: (0..WRITERS * NAMES)
                .map(|number| Arc::new(changing(number)))
                .collect(),
            client: Client::try_from(config)?,
            numbers: Arc::default(),
        };
        let namespaces: Api<Namespace> = Api::all(changes.client.clone());
        for writer in 0..WRITERS {
            let namespace = json!({"metadata": {"name": namespace(writer)}});
            namespaces
                .create(&PostParams::default(), &serde_json::from_value(namespace)?)
                .await?;
        }
        changes
            .each(|writer| async move {
                for name in writer.names.clone() {
                    writer
                        .create(&name)
                        .await
                        .with_context(|| name.name.clone())?;
                }
                Ok(())
            })
            .await?;
        Ok(changes)
    }

    /// Changes for so long; how many changes the API server took a second.
    pub async fn run(&self, duration: Duration) -> Result<u64> {
        let before = self.numbers.taken.load(Ordering::Relaxed);
        let until = time::Instant::now() + duration;
        self.each(|writer| async move {
            let mut ticks =
                time::interval(Duration::from_secs(u64::from(WRITERS)) / u32::try_from(RATE)?);
            // Writers do not write all at the same moment.
            time::sleep(Duration::from_millis(fastrand::u64(..32))).await;
            while time::Instant::now() < until {
                ticks.tick().await;
                let name = Arc::clone(&writer.names[fastrand::usize(..writer.names.len())]);
                writer
                    .change(&name)
                    .await
                    .with_context(|| name.name.clone())?;
            }
            Ok(())
        })
        .await?;
        let taken = self.numbers.taken.load(Ordering::Relaxed) - before;
        Ok(taken / duration.as_secs().max(1))
    }

    /// Namespaces come, each with many services, and are deleted as a whole, for so long. Their names.
    pub async fn crowds(&self, duration: Duration) -> Result<Vec<String>> {
        let until = time::Instant::now() + duration;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let mut names = Vec::new();
        for number in 0.. {
            if time::Instant::now() >= until {
                break;
            }
            let name = format!("crowd-{number}");
            let object = json!({"metadata": {"name": name}});
            namespaces
                .create(&PostParams::default(), &serde_json::from_value(object)?)
                .await?;
            let services: Api<Service> = Api::namespaced(self.client.clone(), &name);
            for service in 0..CROWD {
                let service = service_object(&format!("s-{service}"), None);
                services
                    .create(&PostParams::default(), &serde_json::from_value(service)?)
                    .await?;
                names.push(format!("s-{number}.{name}.svc.cluster.local"));
            }
            time::sleep(STAY).await;
            namespaces.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(names)
    }

    async fn each<F: Future<Output = Result<()>> + Send + 'static>(
        &self,
        work: impl Fn(Writer) -> F,
    ) -> Result<()> {
        let mut tasks = JoinSet::new();
        for names in self.names.chunks(NAMES as usize) {
            tasks.spawn(work(Writer {
                names: names.to_vec(),
                client: self.client.clone(),
                numbers: Arc::clone(&self.numbers),
            }));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

struct Writer {
    names: Vec<Arc<Changing>>,
    client: Client,
    numbers: Arc<Numbers>,
}

impl Writer {
    fn services(&self, name: &Changing) -> Api<Service> {
        Api::namespaced(self.client.clone(), &name.namespace)
    }

    fn slices(&self, name: &Changing) -> Api<EndpointSlice> {
        Api::namespaced(self.client.clone(), &name.namespace)
    }

    async fn create(&self, name: &Changing) -> Result<()> {
        match name.kind {
            Kind::ClusterIp => self.create_service(name).await,
            Kind::Endpoints | Kind::Headless => {
                let (slice, addresses) = self.slice(name)?;
                let service = serde_json::from_value(service_object(&name.service, None))?;
                name.history().sends(State {
                    rcode: 0,
                    addresses,
                });
                self.slices(name)
                    .create(&PostParams::default(), &slice)
                    .await?;
                self.services(name)
                    .create(&PostParams::default(), &service)
                    .await?;
                self.acknowledged(name);
                Ok(())
            }
        }
    }

    async fn change(&self, name: &Changing) -> Result<()> {
        let is_there = name.history().last().is_some_and(|state| state.rcode == 0);
        match name.kind {
            Kind::Endpoints => {
                let (slice, addresses) = self.slice(name)?;
                name.history().sends(State {
                    rcode: 0,
                    addresses,
                });
                self.slices(name)
                    .replace(&name.service, &PostParams::default(), &slice)
                    .await?;
                self.acknowledged(name);
            }
            Kind::ClusterIp | Kind::Headless if is_there => {
                name.history().sends(State {
                    rcode: NXDOMAIN,
                    addresses: Vec::new(),
                });
                self.services(name)
                    .delete(&name.service, &DeleteParams::default())
                    .await?;
                self.acknowledged(name);
            }
            Kind::ClusterIp | Kind::Headless => self.create_service(name).await?,
        }
        Ok(())
    }

    async fn create_service(&self, name: &Changing) -> Result<()> {
        let (address, addresses) = match name.kind {
            Kind::ClusterIp => {
                let address = self.numbers.cluster_ip();
                (Some(address), vec![address])
            }
            Kind::Endpoints | Kind::Headless => (None, self.addresses(name).await?),
        };
        let service = serde_json::from_value(service_object(&name.service, address))?;
        name.history().sends(State {
            rcode: 0,
            addresses,
        });
        self.services(name)
            .create(&PostParams::default(), &service)
            .await?;
        self.acknowledged(name);
        Ok(())
    }

    /// Of the slice that stayed.
    async fn addresses(&self, name: &Changing) -> Result<Vec<Ipv4Addr>> {
        let slice = self.slices(name).get(&name.service).await?;
        let endpoints = slice.endpoints.iter();
        let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
        Ok(addresses
            .map(|address| address.parse())
            .collect::<Result<_, _>>()?)
    }

    /// A new version.
    fn slice(&self, name: &Changing) -> Result<(EndpointSlice, Vec<Ipv4Addr>)> {
        let addresses = self.numbers.endpoints();
        let endpoints: Vec<Value> = (addresses.iter())
            .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
            .collect();
        let slice = json!({
            "metadata": {"name": name.service, "labels": {"kubernetes.io/service-name": name.service}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        Ok((serde_json::from_value(slice)?, addresses))
    }

    fn acknowledged(&self, name: &Changing) {
        name.history().acknowledged();
        self.numbers.taken.fetch_add(1, Ordering::Relaxed);
    }
}

fn namespace(writer: u32) -> String {
    format!("writer-{writer}")
}

fn changing(number: u32) -> Changing {
    let kind = match number % NAMES {
        0..3 => Kind::Endpoints,
        3 | 4 => Kind::ClusterIp,
        _ => Kind::Headless,
    };
    let (namespace, service) = (namespace(number / NAMES), format!("s-{}", number % NAMES));
    Changing {
        name: format!("{service}.{namespace}.svc.cluster.local"),
        namespace,
        service,
        kind,
        history: Mutex::default(),
    }
}

/// Headless without an address.
fn service_object(name: &str, address: Option<Ipv4Addr>) -> Value {
    let address = address.map_or_else(|| "None".to_owned(), |address| address.to_string());
    json!({
        "metadata": {"name": name},
        "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80}]},
    })
}
