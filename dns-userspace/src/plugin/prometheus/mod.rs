//! `prometheus`: counts queries, and serves all metrics over HTTP.
//!
//! ```text
//! prometheus [ADDRESS] {    localhost:9153 unless given; the page is /metrics
//!     tls FILE              over TLS: web.rs
//!     runtime_metrics
//! }
//! ```
//!
//! Names, labels, types and buckets are `CoreDNS`'s. What differs:
//!
//! | | `CoreDNS` | here |
//! |---|---|---|
//! | size of a response | of the message before it is made to fit, names written out | of the message that is sent |
//! | the label `plugin` | the first plugin behind `prometheus`, whoever wrote the reply | the plugin that wrote it |
//! | `go_*`, `runtime_metrics` | the Go runtime's | there is none |
//!
//! A page shows all that is counted in the process, at whatever address it is asked for.

mod collect;
mod counters;
mod kernel;
mod process;
mod web;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use hickory_proto::rr::Name;

pub use counters::{DnsCounters, Enabled, Observed, Scope};
pub use kernel::{Answered, Kernel, KernelMetrics, Owner, Owners};

use super::{Builder, Glance, Glanced, Glimpse, Next, Outcome, Plugin, Request, Sent, Touch, args};
use crate::{
    corefile::{Directive, Fault},
    http::Page,
};

const ADDRESS_DEFAULT: &str = "localhost:9153";
const PATH: &str = "/metrics";

struct Prometheus {
    counters: DnsCounters,
    /// The block's, of which a query belongs to the longest that it lies in.
    zones: Vec<Name>,
    /// Those that were needed so far: a few for each address and view.
    scopes: RwLock<Vec<Arc<Scope>>>,
}

/// Reads `prometheus`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let address = directive.at_most_one("an address, such as localhost:9153")?;
    let address = address.map_or(Ok(ADDRESS_DEFAULT), |word| word.host_and_port())?;
    for property in directive.properties() {
        match property.name.text.as_str() {
            "tls" => {
                let [file] = property.exactly("one file")?;
                // Not below `root`, as in `CoreDNS`.
                let tls = web::read(Path::new(&file.text)).map_err(|message| {
                    let expected =
                        "a file with `tls_server_config`, as exporters of Prometheus have it";
                    Fault::new(file.span, message, expected)
                })?;
                if let Some(tls) = tls {
                    builder.wanted.secure(address, tls);
                }
            }
            "runtime_metrics" => {
                property.exactly::<0>("no arguments")?;
                tracing::warn!(target: "plugin/prometheus", "runtime_metrics: there is no Go runtime, and so no go_* metrics");
            }
            _ => return Err(property.unknown_property("prometheus", &["tls", "runtime_metrics"])),
        }
    }
    let environment = builder.environment;
    let metrics = Arc::clone(&environment.metrics);
    builder
        .wanted
        .page(address, PATH, move || Page::metrics(metrics.text()));
    environment.metrics.of::<process::Process>();
    builder.plugins.push(Box::new(Prometheus {
        counters: environment.metrics.of(),
        zones: builder.keys.iter().map(|key| key.zone.clone()).collect(),
        scopes: RwLock::default(),
    }));
    Ok(())
}

#[async_trait]
impl Plugin for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        next.run(request).await
    }

    fn touches(&self) -> Vec<Touch> {
        // What the kernel answers it counts itself.
        Vec::new()
    }

    fn glance(&self, _query: &Glimpse<'_>, _reply: &mut Glanced<'_>) -> Glance {
        Glance::Next
    }

    fn glanced(&self, query: &Glimpse<'_>, reply: &mut Glanced<'_>) {
        let observed = Observed::glanced(query, reply);
        self.record(query.server, query.zone, query.view, &observed);
    }

    fn sent(&self, sent: &Sent<'_>) {
        self.record(sent.server, self.zone(sent), sent.view, &sent.into());
    }
}

impl Prometheus {
    /// Nothing is allocated here, once a zone has been asked at an address.
    fn record(&self, server: &Arc<str>, zone: &Name, view: &Arc<str>, observed: &Observed) {
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        let known = scopes.iter().find(|scope| scope.is(server, zone, view));
        if let Some(scope) = known {
            scope.record(observed);
            return;
        }
        drop(scopes);
        let scope = self.counters.scope(server, &zone.to_string(), view);
        scope.record(observed);
        let mut scopes = self.scopes.write().unwrap_or_else(PoisonError::into_inner);
        if !scopes.iter().any(|known| Arc::ptr_eq(known, &scope)) {
            scopes.push(scope);
        }
    }

    fn zone<'z>(&'z self, sent: &'z Sent<'_>) -> &'z Name {
        match self.zones.as_slice() {
            [zone] => zone,
            zones => {
                let mine = zones.iter().filter(|zone| zone.zone_of(sent.name));
                mine.max_by_key(|zone| zone.num_labels())
                    .unwrap_or(sent.zone)
            }
        }
    }
}
