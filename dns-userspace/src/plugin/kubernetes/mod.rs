//! `kubernetes`: the names of the cluster.
//!
//! ```text
//! kubernetes [ZONES...] {
//!     namespaces NAMESPACE...         these only; all unless given
//!     namespace_labels SELECTOR       only those with such labels
//!     labels SELECTOR                 only services, slices and pods with such labels
//!     pods disabled|insecure|verified 1-2-3-4.NAMESPACE.pod.ZONE; disabled unless given
//!     endpoint_pod_names              endpoints without a host name are called as their pods
//!     noendpoints                     no names of endpoints, and no headless services
//!     ignore empty_service            a service without a ready endpoint does not exist
//!     ttl SECONDS                     5 unless given, at most 3600
//!     fallthrough [ZONES...]          what does not exist there is asked of the next plugin
//!     multicluster [ZONES...]         which of the zones have the services that the cluster imports
//!     startup_timeout DURATION        taken and without effect: until all is in, answers are SERVFAIL
//!     upstream                        taken and without effect, as in CoreDNS since 1.5
//!     kubeconfig FILE [CONTEXT]       where the API server is
//!     endpoint URL                    the same, without a file
//!     tls CERT KEY CACERT             for `endpoint`
//!     apiserver_qps NUMBER            requests a second to the API server, at most; no limit unless given
//!     apiserver_burst NUMBER          how many of them may come at once
//!     apiserver_max_inflight NUMBER   requests without an answer, at most
//! }
//! ```
//!
//! With `--manifests` there is no API server, and what is said about one is without effect: a cluster's Corefile works
//! as it is.
//!
//! An alias (`ExternalName`) of a name in none of the zones is resolved by asking the server for that name, as if a
//! client did. If nothing comes of it, the CNAME stands alone.
//!
//! What `CoreDNS` does differently:
//!
//! | | `CoreDNS` | here |
//! |---|---|---|
//! | types that follow an alias out of the zones | A, AAAA and some more | all |
//! | PTR records of namespaces that `namespace_labels` leaves out | answered | do not exist |
//! | `zonal` | | an error |
//! | name server of a zone of imported services | the cluster's, by a name that is not in it | `ns.dns` in it |
//! | where PTR records lead to, if the first zone has imported services | into that | into the first other one |
//! | the `CustomResourceDefinition` is not there | all zones wait for it as long as `startup_timeout` | an error in the log, at once |
//!
//! Other classes than IN are answered as IN, as in `CoreDNS`: what is asked of the cluster is nobody else's business.
//!
//! [`crate::zone`] has the other differences.

mod api_server;
mod metadata;
mod programming;
mod setup;

use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};

pub use api_server::ApiServer;
pub use programming::{Programming, Triggers};
pub(super) use setup::setup;

use super::{
    Failure, Glance, Glanced, Glimpse, Next, Outcome, Plugin, Reply, Request, Sent, Touch,
    zones::Zones,
};
use crate::zone::{Zone, below};

struct Kubernetes {
    cluster: Arc<RwLock<Zone>>,
    /// Those that it answers in.
    zones: Zones,
    /// Zones below which what does not exist is somebody else's.
    fallthrough: Vec<Name>,
}

#[async_trait]
impl Plugin for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let is_transfer = matches!(request.rtype, RecordType::AXFR | RecordType::IXFR);
        let (answer, target) = match self.cluster.read() {
            Ok(zone) => {
                let answer = zone.lookup(&request.name, request.rtype);
                let target = answer
                    .as_ref()
                    .and_then(|answer| zone.left_to_others(answer, request.rtype));
                (answer, target)
            }
            Err(_poisoned) => {
                return Err(Failure::new("a change to the zone was left half done"));
            }
        };
        let falls_through = || {
            let name = request.lower_name();
            self.fallthrough.iter().any(|zone| zone.zone_of(&name))
        };
        let mut reply = match answer {
            None => return next.run(request).await,
            // Without `transfer`, which stands ahead of it.
            Some(_) if is_transfer => return Ok(Reply::bare(ResponseCode::Refused).into()),
            Some(answer) if answer.rcode == ResponseCode::NXDomain && falls_through() => {
                return next.run(request).await;
            }
            Some(answer) => Reply::from(answer),
        };
        if let Some(target) = target
            && let Some(found) = next.lookup(request, target, request.rtype).await
        {
            reply.answers.extend(found.answers);
            reply.flags.truncated |= found.flags.truncated;
            // No answer of the kernel's, so it need not look like one.
            reply.compressed = true;
        }
        Ok(reply.into())
    }

    fn metadata(&self, sent: &Sent<'_>, label: &str) -> Option<String> {
        let label = label.strip_prefix("kubernetes/")?;
        let zone = self.cluster.read().ok()?;
        if label == "client-namespace" {
            return zone.namespace_of_pod(sent.client.ip()).map(str::to_owned);
        }
        let domain = zone.domain_of(sent.name)?;
        let is_imported = zone.config().is_imported(domain);
        metadata::of_name(sent.name, domain, is_imported, label)
    }

    fn glance(&self, query: &Glimpse<'_>, _reply: &mut Glanced<'_>) -> Glance {
        if self.zones.contain(query.asked.name) {
            Glance::InDoubt
        } else {
            Glance::Next
        }
    }

    fn search_path(&self, request: &Request) -> Option<Vec<Name>> {
        let zone = self.cluster.read().ok()?;
        let domain = zone.domain_of(&request.name)?;
        let namespace = zone.namespace_of_pod(request.client.ip())?;
        [&[namespace, "svc"][..], &["svc"], &[]]
            .into_iter()
            .map(|labels| below(domain, labels))
            .collect()
    }

    fn transfer(&self, zone: &Name) -> Option<Result<Vec<Record>, Failure>> {
        self.cluster.read().ok()?.transfer(zone).map(Ok)
    }

    fn touches(&self) -> Vec<Touch> {
        // It is what the kernel answers from, but for what is somebody else's.
        let zones = self.fallthrough.iter().cloned();
        zones.map(Touch::Absent).collect()
    }

    fn is_ready(&self) -> bool {
        (self.cluster.read()).is_ok_and(|zone| zone.is_synchronised())
    }

    fn cluster(&self) -> Option<&Arc<RwLock<Zone>>> {
        Some(&self.cluster)
    }
}
