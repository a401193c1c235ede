//! A server block as it is served.

use std::sync::{Arc, Weak};

use hickory_proto::rr::Name;

use super::Plugin;

/// What a plugin may know of where it is, once that is served.
#[derive(Clone)]
pub struct Site {
    /// The zone.
    pub zone: Name,
    /// The server, as metrics name it: `dns://:53`.
    pub server: Arc<str>,
    plugins: Weak<[Box<dyn Plugin>]>,
}

impl Site {
    /// These plugins answer for a zone at a server.
    pub fn new(zone: Name, server: Arc<str>, plugins: &Arc<[Box<dyn Plugin>]>) -> Self {
        Site {
            zone,
            server,
            plugins: Arc::downgrade(plugins),
        }
    }

    /// The plugins in their order; `None` once they are served no longer.
    pub fn plugins(&self) -> Option<Arc<[Box<dyn Plugin>]>> {
        self.plugins.upgrade()
    }

    /// Tells the plugins that a zone of one of them has changed.
    pub fn changed(&self, zone: &Name) {
        for plugin in self.plugins().iter().flat_map(|plugins| &**plugins) {
            plugin.changed(zone);
        }
    }

    /// Address and port: `:53`.
    pub fn address(&self) -> String {
        let address = self.server.split_once("://");
        address
            .map_or(&*self.server, |(_, address)| address)
            .to_owned()
    }
}
