//! The configuration of the cluster's CoreDNS, as it changes.
//!
//! What cannot be read as `CoreDNS` reads it is not answered from at all: a file that is imported there and not here could
//! have rewritten any name.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{anyhow, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::{sync::watch, time::sleep};

use super::{
    Named,
    objects::{self, Wanted},
};
use crate::{
    cli::serve::allowances::Allowances,
    corefile::Corefile,
    plugin::{Environment, builder::PORT_DEFAULT},
    server::Servers,
    source::cluster::Connection,
    zone::Zone,
};

/// The key of the `ConfigMap`.
const KEY: &str = "Corefile";
/// Where it is mounted in CoreDNS's pod: paths in it are relative to that.
const MOUNTED_AT: &str = "/etc/coredns/Corefile";
/// Between two looks at a file.
const LOOKED_EVERY: Duration = Duration::from_secs(5);

/// Where it is.
pub(super) enum Place {
    File(PathBuf),
    ConfigMap(Named),
}

/// What was read, or why not.
pub(in crate::cli) type Read = Result<Corefile, String>;

impl Place {
    /// Reads it, now and after each change, for ever. (The same may come twice.)
    pub async fn follow(self, connection: Option<Connection>, latest: watch::Sender<Option<Read>>) {
        match self {
            Place::File(path) => loop {
                let corefile = Corefile::read(&path).map_err(|error| error.report(false));
                latest.send_replace(Some(corefile));
                sleep(LOOKED_EVERY).await;
            },
            Place::ConfigMap(named) => {
                let Some(connection) = connection else {
                    return;
                };
                let wanted = Wanted::one(&named);
                let tell = |maps: Vec<ConfigMap>| {
                    latest.send_replace(Some(of_map(&named, maps.first())));
                };
                objects::follow(connection, wanted, tell).await;
            }
        }
    }
}

pub(in crate::cli) fn of_map(named: &Named, map: Option<&ConfigMap>) -> Read {
    let Some(map) = map else {
        return Err(format!(
            "there is no ConfigMap {named}: name that of the cluster's CoreDNS with --config-map, or its file with --conf"
        ));
    };
    let text = map.data.as_ref().and_then(|data| data.get(KEY));
    let Some(text) = text else {
        return Err(format!("the ConfigMap {named} has no key {KEY}"));
    };
    let path = Path::new(MOUNTED_AT);
    let variables = |name: &str| std::env::var(name).ok();
    let corefile =
        Corefile::parse(path, text.clone(), &variables).map_err(|error| error.report(false))?;
    // An empty directory is known to be empty; one that is not there may be full where CoreDNS runs.
    let unknown =
        (corefile.unmatched.iter()).find(|pattern| !pattern.parent().is_some_and(Path::is_dir));
    match unknown {
        None => Ok(corefile),
        Some(pattern) => Err(format!(
            "the Corefile imports {}, and here is no such directory: mount the same ConfigMap there as in CoreDNS's pod (an empty directory if it has none)",
            pattern.display()
        )),
    }
}

/// What follows from it for the kernel.
pub(super) struct Configuration {
    environment: Environment,
    allowances: Allowances,
    /// Digest of what is in use; `None`: nothing is.
    used: Option<String>,
}

impl Configuration {
    /// Builds the first one.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn new(corefile: &Corefile) -> anyhow::Result<Self> {
        let environment = Environment::default();
        let servers = build(corefile, &environment)?;
        let allowances = Allowances::of_servers(Arc::new(servers), &environment, Vec::new());
        let mut configuration = Configuration {
            environment,
            allowances,
            used: None,
        };
        configuration.take(corefile)?;
        Ok(configuration)
    }

    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    pub fn allowances(&self) -> Allowances {
        self.allowances.clone()
    }

    /// Another one, or the same again.
    ///
    /// # Errors
    /// It wants other objects of the cluster than are followed: this process has to start anew.
    pub fn change(&mut self, read: Read) -> anyhow::Result<()> {
        let taken = match read {
            Ok(corefile) if self.used.as_ref() == Some(&corefile.sha512()) => return Ok(()),
            Ok(corefile) => self.take(&corefile).map_err(|error| {
                if build(&corefile, &Environment::default()).is_ok() {
                    Refused::Here(error)
                } else {
                    Refused::Anywhere(error.to_string())
                }
            }),
            Err(error) => Err(Refused::Anywhere(error)),
        };
        match taken {
            Ok(()) => Ok(()),
            Err(Refused::Here(error)) => bail!(
                "the configuration has changed so much that this has to be started anew: {error}"
            ),
            Err(Refused::Anywhere(error)) => {
                // CoreDNS may go on with the one before, or take one that we cannot.
                if self.used.take().is_some() {
                    tracing::warn!(
                        "the kernel answers nothing: the configuration has changed, and cannot be used"
                    );
                }
                tracing::warn!("{error}");
                self.allowances.withdraw();
                Ok(())
            }
        }
    }

    fn take(&mut self, corefile: &Corefile) -> anyhow::Result<()> {
        for warning in &corefile.warnings {
            tracing::warn!("{warning}");
        }
        let servers = Arc::new(build(corefile, &self.environment)?);
        // Its files are followed for as long as it is in use.
        servers.follow_files();
        let zones: Vec<Arc<RwLock<Zone>>> = self.environment.clusters();
        self.allowances.serve(servers, zones);
        self.environment.cluster_zones.forget_unused();
        self.used = Some(corefile.sha512());
        tracing::info!(
            sha512 = self.used,
            "the configuration of the cluster's CoreDNS"
        );
        Ok(())
    }
}

enum Refused {
    /// By what this process does already.
    Here(anyhow::Error),
    Anywhere(String),
}

fn build(corefile: &Corefile, environment: &Environment) -> anyhow::Result<Servers> {
    Servers::build(corefile, PORT_DEFAULT, environment).map_err(|error| {
        anyhow!(
            "the configuration cannot be used\n{}",
            error.report(false).trim_end()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn map(corefile: &str) -> ConfigMap {
        ConfigMap {
            data: Some(BTreeMap::from([(KEY.to_owned(), corefile.to_owned())])),
            ..ConfigMap::default()
        }
    }

    fn named() -> Named {
        "kube-system/coredns".parse().unwrap()
    }

    #[test]
    fn what_is_imported_elsewhere_is_not_taken_for_nothing() {
        let plain = ".:53 {\nkubernetes cluster.local\n}\n";
        assert!(of_map(&named(), Some(&map(plain))).is_ok());
        for directory in ["/nowhere/custom", "custom"] {
            let text =
                format!(".:53 {{\nimport {directory}/*.override\nkubernetes cluster.local\n}}\n");
            let refused = of_map(&named(), Some(&map(&text))).unwrap_err();
            assert!(refused.contains("*.override"), "{refused}");
        }
        let empty = tempfile::tempdir().unwrap();
        let text = format!(
            ".:53 {{\nimport {}/*.override\nkubernetes cluster.local\n}}\n",
            empty.path().display()
        );
        assert!(of_map(&named(), Some(&map(&text))).is_ok());
        assert!(of_map(&named(), None).unwrap_err().contains("--config-map"));
        assert!(of_map(&named(), Some(&ConfigMap::default())).is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_not_answered_from() {
        let read = |text: &str| of_map(&named(), Some(&map(text)));
        let first = read(".:53 {\nkubernetes cluster.local\n}\n").unwrap();
        let mut configuration = Configuration::new(&first).unwrap();
        let allowances = configuration.allowances().subscribe();
        let is_allowed = || allowances.borrow().is_some();
        assert!(is_allowed());
        configuration.change(read(".:53 {\nnonsense\n}\n")).unwrap();
        assert!(!is_allowed());
        configuration.change(Ok(first.clone())).unwrap();
        assert!(is_allowed());
        configuration.change(Err("no answer".to_owned())).unwrap();
        assert!(!is_allowed());
        // A rewrite of the cluster's names keeps them from the kernel.
        configuration
            .change(read(".:53 {\nrewrite name a.b.svc.cluster.local c.d.svc.cluster.local\nkubernetes cluster.local\n}\n"))
            .unwrap();
        let claims = allowances.borrow().as_ref().unwrap().claims.len();
        assert!(claims > 0);
    }
}
