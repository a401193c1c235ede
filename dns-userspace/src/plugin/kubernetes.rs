//! `kubernetes`: the names of the cluster.
//!
//! ```text
//! kubernetes [ZONES...] {
//!     ttl SECONDS                   5 unless given, at most 3600
//!     pods disabled
//!     fallthrough [ZONES...]        what does not exist there is asked of the next plugin
//!     upstream                      taken and without effect, as in CoreDNS since 1.5
//! }
//! ```

use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name},
};

use super::{Builder, Failure, Next, Outcome, Plugin, Reply, Request, Touch, args};
use crate::{
    corefile::{Directive, Fault},
    zone::{Zone, ZoneConfig},
};

const TTL_DEFAULT: u32 = 5;
const TTL_MAX: u32 = 3600;

struct Kubernetes {
    cluster: Arc<RwLock<Zone>>,
    /// Zones below which what does not exist is somebody else's.
    fallthrough: Vec<Name>,
}

/// Reads `kubernetes`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let zones = builder.zones(&directive.args)?;
    let is_reverse = |zone: &&Name| {
        ["in-addr.arpa.", "ip6.arpa."]
            .iter()
            .any(|tree| Name::from_ascii(tree).is_ok_and(|tree| tree.zone_of(zone)))
    };
    let Some(origin) = zones.iter().find(|zone| !is_reverse(zone)) else {
        return Err(Fault::new(
            directive.span(),
            "`kubernetes` without a zone for services",
            "a zone such as cluster.local",
        ));
    };
    let mut config = ZoneConfig {
        origin: origin.clone(),
        reverse: zones.iter().filter(is_reverse).cloned().collect(),
        ttl: TTL_DEFAULT,
    };
    let mut fallthrough = Vec::new();
    for property in directive.properties() {
        match property.name.text.as_str() {
            "ttl" => {
                let [ttl] = property.exactly("a number of seconds")?;
                config.ttl = ttl.parse("a number of seconds")?;
                if config.ttl > TTL_MAX {
                    return Err(ttl.not("0 to 3600 seconds"));
                }
            }
            "pods" => {
                let [mode] = property.exactly("disabled")?;
                if mode.text != "disabled" {
                    return Err(mode.not("disabled"));
                }
            }
            "fallthrough" if property.args.is_empty() => fallthrough.push(Name::root()),
            "fallthrough" => fallthrough.extend(builder.zones(&property.args)?),
            "upstream" => {}
            _ => {
                let known = ["ttl", "pods", "fallthrough", "upstream"];
                return Err(property.unknown_property("kubernetes", &known));
            }
        }
    }
    let cluster = builder.environment.cluster(config);
    builder.plugins.push(Box::new(Kubernetes {
        cluster,
        fallthrough,
    }));
    Ok(())
}

#[async_trait]
impl Plugin for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        if request.class != u16::from(DNSClass::IN) {
            return next.run(request).await;
        }
        let answer = match self.cluster.read() {
            Ok(zone) => zone.lookup(&request.name, request.rtype),
            Err(_poisoned) => {
                return Err(Failure::new("a change to the zone was left half done"));
            }
        };
        let falls_through = || {
            let name = request.lower_name();
            self.fallthrough.iter().any(|zone| zone.zone_of(&name))
        };
        match answer {
            None => next.run(request).await,
            Some(answer) if answer.rcode == ResponseCode::NXDomain && falls_through() => {
                next.run(request).await
            }
            Some(answer) => Ok(Reply::from(answer).into()),
        }
    }

    fn is_ready(&self) -> bool {
        (self.cluster.read()).is_ok_and(|zone| zone.is_synchronised())
    }

    fn touches(&self) -> Vec<Touch> {
        // It is what the kernel answers from, but for what is somebody else's.
        let zones = self.fallthrough.iter().cloned();
        zones.map(Touch::Absent).collect()
    }

    fn cluster(&self) -> Option<&Arc<RwLock<Zone>>> {
        Some(&self.cluster)
    }
}
