//! What a configuration wants of the daemon, beyond answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use rustls::ServerConfig;

use super::ready::Readiness;
use crate::http::{MakePage, Page};

/// All server blocks' together.
#[derive(Default)]
pub struct Wanted {
    /// Pages, by the address where they are served.
    pub pages: BTreeMap<String, Pages>,
    /// How long everything goes on being served at the end.
    pub lameduck: Duration,
    /// How often the configuration is looked at, if it is.
    pub reload: Option<Duration>,
    /// What is asked by `ready`.
    pub readiness: Arc<Readiness>,
    /// What goes on while the configuration is in use.
    pub running: Vec<BoxFuture<'static, ()>>,
    /// Details are logged, and a panic ends the daemon.
    pub debug: bool,
}

/// What is served at one address.
#[derive(Default)]
pub struct Pages {
    /// By path.
    pub by_path: BTreeMap<&'static str, MakePage>,
    /// How sessions are made; `None`: requests come in plain.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Wanted {
    /// Serves a page. Who asks for the same one again gets the last.
    pub fn page(
        &mut self,
        address: &str,
        path: &'static str,
        make: impl Fn() -> Page + Send + Sync + 'static,
    ) {
        let pages = self.pages.entry(address.to_owned()).or_default();
        pages.by_path.insert(path, Arc::new(make));
    }

    /// Serves all pages of an address over TLS.
    pub fn secure(&mut self, address: &str, tls: Arc<ServerConfig>) {
        let pages = self.pages.entry(address.to_owned()).or_default();
        pages.tls = Some(tls);
    }

    /// Does something while the configuration is in use; then it is dropped.
    pub fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push(Box::pin(task));
    }
}
