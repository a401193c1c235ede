//! `ready`: says over HTTP whether all plugins can answer.
//!
//! ```text
//! ready [ADDRESS] {                        :8181 unless given; the page is /ready
//!     monitor until-ready|continuously     whether a plugin that was ready once is asked again; until-ready
//! }
//! ```
//!
//! The page is 200 and `OK`, or 503 and the plugins that are not ready; 503 too once the daemon is to end. It speaks
//! of all server blocks with a `ready`.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Builder, Plugin, args};
use crate::{
    corefile::{Directive, Fault},
    http::Page,
};

const ADDRESS_DEFAULT: &str = ":8181";
const PATH: &str = "/ready";

/// The plugins of the server blocks that are asked.
#[derive(Default)]
pub struct Readiness(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    blocks: Vec<Arc<[Box<dyn Plugin>]>>,
    /// Block and plugin of those that need not be asked again.
    were_ready: Vec<(usize, usize)>,
    continuously: bool,
}

/// Reads `ready`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let address = directive.at_most_one("an address, such as :8181")?;
    let address = address.map_or(Ok(ADDRESS_DEFAULT), |word| word.host_and_port())?;
    let mut continuously = false;
    for property in directive.properties() {
        if property.name.text != "monitor" {
            return Err(property.unknown_property("ready", &["monitor"]));
        }
        let [mode] = property.exactly("until-ready or continuously")?;
        continuously = match mode.text.as_str() {
            "until-ready" => false,
            "continuously" => true,
            _ => return Err(mode.not("until-ready or continuously")),
        };
    }
    let readiness = Arc::clone(&builder.wanted.readiness);
    readiness.lock().continuously = continuously;
    let stopping = builder.environment.stopping.clone();
    let page = move || match readiness.missing() {
        _ if stopping.is_cancelled() => Page::unavailable("Shutting down"),
        missing if missing.is_empty() => Page::ok(),
        missing => {
            tracing::info!(target: "plugin/ready", "Plugins not ready: {missing:?}");
            Page::unavailable(missing)
        }
    };
    builder.wanted.page(address, PATH, page);
    builder.is_monitored = true;
    Ok(())
}

impl Readiness {
    /// Asks the plugins of one more server block.
    pub fn add(&self, plugins: Arc<[Box<dyn Plugin>]>) {
        self.lock().blocks.push(plugins);
    }

    /// The plugins that are not ready, in alphabetical order, with commas between them.
    fn missing(&self) -> String {
        let mut inner = self.lock();
        let Inner {
            blocks,
            were_ready,
            continuously,
        } = &mut *inner;
        let mut missing = Vec::new();
        for (block, plugins) in blocks.iter().enumerate() {
            for (at, plugin) in plugins.iter().enumerate() {
                if were_ready.contains(&(block, at)) {
                    continue;
                }
                if !plugin.is_ready() {
                    missing.push(plugin.name());
                } else if !*continuously {
                    were_ready.push((block, at));
                }
            }
        }
        missing.sort_unstable();
        missing.dedup();
        missing.join(",")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
