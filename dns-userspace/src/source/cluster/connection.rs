//! How the API server is reached: from within the cluster, by a kubeconfig, or by its address.
//!
//! A token file is read again each minute by the client itself. When the API server does not know our credentials any
//! more, all of them are read again, those in a kubeconfig too.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{
        AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
        NamedContext,
    },
};
use tokio::time::Instant;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long credentials are believed in before they are read again.
const RENEWED_EVERY_MIN: Duration = Duration::from_secs(10);

/// Where the API server is, and how it knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// As a pod of the cluster.
    InCluster,
    /// As a file for `kubectl` says.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context; the file's current one unless given.
        context: Option<String>,
    },
    /// At an address.
    Endpoint {
        /// The address.
        url: String,
        /// Certificate, key, and certificates of authorities; an empty one is not used.
        tls: Option<[String; 3]>,
    },
}

/// How much the API server may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Requests a second.
    pub qps: Option<f64>,
    /// How many of them may come at once.
    pub burst: Option<u32>,
    /// Requests without an answer. (A watch has its answer when it begins.)
    pub in_flight: Option<u32>,
}

/// Why there is no client for the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Not in a pod, or without a service account.
    #[error(
        "the API server cannot be reached as from a pod: {0} (outside of a cluster name a file by --kubeconfig, or a directory by --manifests; a pod needs automountServiceAccountToken)"
    )]
    InCluster(#[source] kube::config::InClusterError),
    /// The file is missing or wrong, or a file that it names.
    #[error("the kubeconfig {} cannot be used{}: {reason} (`kubectl --kubeconfig {} config view` shows it)", file.display(), in_context(context.as_ref()), file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context that was asked for.
        context: Option<String>,
        /// What is wrong.
        #[source]
        reason: kube::config::KubeconfigError,
    },
    /// Its address or a file of `tls` is wrong.
    #[error(
        "the API server at {url} cannot be used: {reason} (`endpoint` is a URL, `tls` three files)"
    )]
    Endpoint {
        /// The address.
        url: String,
        /// What is wrong.
        #[source]
        reason: kube::config::KubeconfigError,
    },
    /// Keys or certificates do not fit.
    #[error("no client for {access}: {reason}{}", remedy(reason))]
    Client {
        /// Which.
        access: Access,
        /// What is wrong.
        #[source]
        reason: Box<kube::Error>,
    },
}

/// A client that can be made anew.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    access: Option<(Access, Limits)>,
    client: Mutex<(Client, Instant)>,
}

impl Access {
    /// Whether this process looks like one of a pod.
    pub fn is_in_cluster() -> bool {
        std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
    }

    async fn config(&self) -> Result<Config, ConnectionError> {
        match self {
            Self::InCluster => Config::incluster().map_err(ConnectionError::InCluster),
            Self::Kubeconfig { file, context } => {
                let options = KubeConfigOptions {
                    context: context.clone(),
                    ..KubeConfigOptions::default()
                };
                let config = async {
                    let kubeconfig = Kubeconfig::read_from(file)?;
                    Config::from_custom_kubeconfig(kubeconfig, &options).await
                };
                config.await.map_err(|reason| ConnectionError::Kubeconfig {
                    file: file.clone(),
                    context: context.clone(),
                    reason,
                })
            }
            Self::Endpoint { url, tls } => {
                let kubeconfig = kubeconfig_of(url, tls.as_ref());
                let options = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|reason| ConnectionError::Endpoint {
                    url: url.clone(),
                    reason,
                })
            }
        }
    }
}

/// What a kubeconfig for an address would be.
fn kubeconfig_of(url: &str, tls: Option<&[String; 3]>) -> Kubeconfig {
    const NAME: &str = "endpoint";
    let file = |at: usize| {
        let file = tls.map(|files| files[at].clone());
        file.filter(|file| !file.is_empty())
    };
    let server = match url.contains("://") {
        true => url.to_owned(),
        false if tls.is_some() => format!("https://{url}"),
        false => format!("http://{url}"),
    };
    Kubeconfig {
        clusters: vec![NamedCluster {
            name: NAME.to_owned(),
            cluster: Some(Cluster {
                server: Some(server),
                certificate_authority: file(2),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: NAME.to_owned(),
            auth_info: Some(AuthInfo {
                client_certificate: file(0),
                client_key: file(1),
                ..AuthInfo::default()
            }),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: NAME.to_owned(),
            context: Some(Context {
                cluster: NAME.to_owned(),
                user: Some(NAME.to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(NAME.to_owned()),
        ..Kubeconfig::default()
    }
}

impl Connection {
    /// Reads what is needed, and connects when something is asked.
    ///
    /// # Errors
    /// A file or an address cannot be used.
    pub async fn new(access: Access, limits: Limits) -> Result<Self, ConnectionError> {
        let client = client(&access, limits).await?;
        Ok(Self(Arc::new(Inner {
            access: Some((access, limits)),
            client: Mutex::new((client, Instant::now())),
        })))
    }

    /// With a client that is never made anew.
    #[cfg(test)]
    pub fn of_client(client: Client) -> Self {
        Self(Arc::new(Inner {
            access: None,
            client: Mutex::new((client, Instant::now())),
        }))
    }

    /// The client.
    pub fn client(&self) -> Client {
        let client = self.0.client.lock();
        client.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Reads credentials again, unless that was just done. What cannot be read is logged, and what was there stays.
    pub async fn renew(&self) {
        let Some((access, limits)) = &self.0.access else {
            return;
        };
        {
            let mut client = self.0.client.lock().unwrap_or_else(PoisonError::into_inner);
            if client.1.elapsed() < RENEWED_EVERY_MIN {
                return;
            }
            client.1 = Instant::now();
        }
        match client(access, *limits).await {
            Ok(new) => {
                let mut client = self.0.client.lock().unwrap_or_else(PoisonError::into_inner);
                client.0 = new;
            }
            Err(error) => tracing::warn!(%error, "the credentials cannot be read again"),
        }
    }
}

async fn client(access: &Access, limits: Limits) -> Result<Client, ConnectionError> {
    let mut config = access.config().await?;
    config.connect_timeout = Some(CONNECT_MAX);
    // Whoever asks waits and asks again by itself, and counts it.
    config.default_retry = false;
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_static(concat!("hopzero/", env!("CARGO_PKG_VERSION"))),
    ));
    let builder = ClientBuilder::try_from(config).map_err(|reason| ConnectionError::Client {
        access: access.clone(),
        reason: Box::new(reason),
    })?;
    let in_flight = limits.in_flight.filter(|limit| *limit > 0);
    let in_flight = in_flight.map(|limit| ConcurrencyLimitLayer::new(limit as usize));
    let qps = limits.qps.filter(|qps| *qps > 0.0);
    let rate = qps.map(|qps| {
        let burst = limits.burst.filter(|burst| *burst > 0).unwrap_or(1);
        let each = Duration::try_from_secs_f64(f64::from(burst) / qps);
        RateLimitLayer::new(u64::from(burst), each.unwrap_or(Duration::MAX))
    });
    Ok(builder
        .with_layer(&tower::util::option_layer(in_flight))
        .with_layer(&tower::util::option_layer(rate))
        .build())
}

/// A program that gives credentials cannot be run by a daemon that may run none.
fn remedy(reason: &kube::Error) -> &'static str {
    match reason {
        kube::Error::Auth(kube::client::AuthError::AuthExecStart(_)) => {
            " (no program is run for credentials, unless with --no-sandbox; or give the user a token or a certificate)"
        }
        _ => "",
    }
}

fn in_context(context: Option<&String>) -> String {
    context.map_or_else(String::new, |context| format!(" with context {context}"))
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("the API server of this pod's cluster"),
            Self::Kubeconfig { file, context } => {
                write!(
                    f,
                    "kubeconfig {}{}",
                    file.display(),
                    in_context(context.as_ref())
                )
            }
            Self::Endpoint { url, .. } => write!(f, "the API server at {url}"),
        }
    }
}
