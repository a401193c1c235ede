//! `metadata`: what plugins know of a query, for those who log it.
//!
//! ```text
//! metadata [ZONES...]      of queries for names in these zones; the block's unless given
//! ```
//!
//! | label | what | by |
//! |---|---|---|
//! | `kubernetes/namespace` and others | what a name of the cluster consists of | `kubernetes/metadata.rs` |
//! | `forward/upstream` | who gave the reply | `forward` |
//! | `log/class` | the class of the reply | `log` |
//! | `view/name` | the view of the server block | here |
//!
//! Plugins are asked where a label is wanted, and not before: so it changes nothing by itself, and touches no name.

use async_trait::async_trait;
use hickory_proto::rr::Name;

use super::{Builder, Glance, Glanced, Glimpse, Next, Outcome, Plugin, Request, Sent, Touch, args};
use crate::corefile::{Directive, Fault};

/// Its directive.
pub(super) const NAME: &str = "metadata";

struct Metadata {
    zones: Vec<Name>,
}

/// Reads `metadata`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.no_block()?;
    let zones = builder.zones(&directive.args)?;
    builder.plugins.push(Box::new(Metadata { zones }));
    Ok(())
}

#[async_trait]
impl Plugin for Metadata {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        next.run(request).await
    }

    fn glance(&self, _query: &Glimpse<'_>, _reply: &mut Glanced<'_>) -> Glance {
        Glance::Next
    }

    fn touches(&self) -> Vec<Touch> {
        Vec::new()
    }

    fn metadata(&self, sent: &Sent<'_>, label: &str) -> Option<String> {
        if !self.zones.iter().any(|zone| zone.zone_of(sent.name)) {
            return None;
        }
        if label == "view/name" && !sent.view.is_empty() {
            return Some(sent.view.to_string());
        }
        let mut others = sent.plugins.0.iter().filter(|plugin| plugin.name() != NAME);
        others.find_map(|plugin| plugin.metadata(sent, label))
    }
}
