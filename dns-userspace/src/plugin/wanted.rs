//! What a configuration wants of the daemon, beyond answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::http::{MakePage, Page};

/// All server blocks' together.
#[derive(Default)]
pub struct Wanted {
    /// Pages by path, by the address where they are served.
    pub pages: BTreeMap<String, Pages>,
    /// How long everything goes on being served at the end.
    pub lameduck: Duration,
    /// How often the configuration is looked at, if it is.
    pub reload: Option<Duration>,
    /// Details are logged, and a panic ends the daemon.
    pub debug: bool,
}

/// The pages of one address.
pub type Pages = BTreeMap<&'static str, MakePage>;

impl Wanted {
    /// Serves a page. Who asks for the same one again gets the last.
    pub fn page(
        &mut self,
        address: &str,
        path: &'static str,
        make: impl Fn() -> Page + Send + Sync + 'static,
    ) {
        let pages = self.pages.entry(address.to_owned()).or_default();
        pages.insert(path, Arc::new(make));
    }
}
