//! What a configuration allows the kernel to answer: the names of the cluster, but for those in whose answers
//! something else than `kubernetes` has a say. These are kept on the socket.
//!
//! The kernel sees a query to port 53 of an address that it answers for, and not which of our sockets that would come to:
//! behind the address of a Service it may be any port of ours, on any address. So:
//!
//! - Where a server listens at port 53 of that very address, it is this one.
//! - Else it is any that listens on all addresses and has `kubernetes` in one of its blocks, whatever its port
//!   (it is 5353 or 8053 in some distributions), or, if there is none, any other that has it. What one of them would not answer
//!   from the zone is kept.
//!
//! The kernel has the zones of one cluster, those of the first `kubernetes` in the file that is asked so. Within it, at each server:
//!
//! - A name belongs to the block with the longest zone that it lies in. One without that `kubernetes` keeps all its names.
//! - What stands ahead of `kubernetes` in its block keeps what it touches ([`Plugin::touches`](crate::plugin::Plugin::touches)). What stands behind
//!   matters only where `kubernetes` falls through, which it says itself.
//! - The DS record of a block's zone is its parent's.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, RwLock},
};

use hickory_proto::rr::Name;

use super::{Listen, Server, Servers, Site};
use crate::{
    corefile::Transport,
    plugin::{
        Touch,
        prometheus::{Owner, Owners},
    },
    zone::{Kept, Zone, ZoneConfig},
};

#[cfg(test)]
mod tests;

/// The port of queries that the kernel answers.
const PORT: u16 = 53;

/// A zone that the kernel may answer from, as far as nobody claims its names.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// It.
    pub zone: Arc<RwLock<Zone>>,
    /// What is kept on the socket, each with its reason.
    pub claims: Vec<Claim>,
    /// Addresses are to be rotated.
    pub rotate: bool,
    /// Where metrics count what the kernel answers of each of the zone's zones.
    pub owners: Owners,
}

/// Names that are kept on the socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Which.
    pub touch: Touch,
    /// For what: a directive, or a server block.
    pub reason: String,
}

impl Allowance {
    /// All that is claimed.
    pub fn kept(&self) -> Kept {
        let mut kept = Kept::default();
        for claim in &self.claims {
            claim.touch.keep(&mut kept);
        }
        kept
    }
}

impl Servers {
    /// What the kernel may answer for these addresses, from the first of the clusters that is asked there; `None`
    /// where none is.
    pub fn allowance(
        &self,
        clusters: &[Arc<RwLock<Zone>>],
        answer_for: &[IpAddr],
    ) -> Option<Allowance> {
        let asked = self.asked(answer_for);
        let is_asked = |zone: &&Arc<RwLock<Zone>>| {
            let mut sites = asked.iter().flat_map(|server| server.all());
            sites.any(|site| site.plugin_of(zone).is_some())
        };
        let zone = clusters.iter().find(is_asked)?;
        let config = zone.read().ok()?.config().clone();
        let rotate = asked.iter().any(|server| {
            let site = server.longest(&config.origin);
            site.is_some_and(|site| site.rotates(zone))
        });
        let claims = asked.iter();
        let mut claims: Vec<Claim> = claims
            .flat_map(|server| server.claims(zone, &config, rotate))
            .collect();
        let mut seen = HashSet::new();
        claims.retain(|claim| seen.insert(claim.clone()));
        let of_family = |is_ipv6| {
            let mut addresses = answer_for.to_vec();
            addresses.retain(|address| address.is_ipv6() == is_ipv6);
            self.asked(&addresses)
        };
        let families = [of_family(false), of_family(true)];
        let owners = config.zones().map(|apex| {
            let owner = |asked: &Vec<&Server>| owner(asked, zone, apex);
            (apex.clone(), families.each_ref().map(owner))
        });
        Some(Allowance {
            owners: owners.collect(),
            zone: Arc::clone(zone),
            claims,
            rotate,
        })
    }

    /// The servers that queries to one of these addresses may come to.
    fn asked(&self, answer_for: &[IpAddr]) -> Vec<&Server> {
        let servers: Vec<(&Listen, &Server)> = (self.iter())
            .filter(|(listen, _)| listen.transport == Transport::Dns)
            .map(|(listen, server)| (listen, &**server))
            .collect();
        let is_at = |listen: &Listen, address: &IpAddr| {
            (listen.address.ip(), listen.address.port()) == (*address, PORT)
        };
        let has_own = |address: &IpAddr| servers.iter().any(|(listen, _)| is_at(listen, address));
        let mut others = servers.clone();
        if !answer_for.is_empty() && answer_for.iter().all(has_own) {
            others.clear();
        }
        others.retain(|(_, server)| server.has_cluster());
        let is_everywhere = |listen: &Listen| listen.address.ip().is_unspecified();
        if others.iter().any(|(listen, _)| is_everywhere(listen)) {
            others.retain(|(listen, _)| is_everywhere(listen));
        }
        let own = servers.into_iter();
        let own = own.filter(|(listen, _)| answer_for.iter().any(|address| is_at(listen, address)));
        let mut asked: Vec<_> = own.chain(others).collect();
        asked.sort_by_key(|(listen, _)| **listen);
        asked.dedup_by_key(|(listen, _)| **listen);
        asked.into_iter().map(|(_, server)| server).collect()
    }
}

/// Where the kernel's answers of a zone are counted: in the block of the first server that they may belong to, if that has
/// `prometheus`.
fn owner(asked: &[&Server], zone: &Arc<RwLock<Zone>>, apex: &Name) -> Option<Owner> {
    let (server, site) = asked.iter().find_map(|server| {
        let site = server.longest(apex)?;
        site.plugin_of(zone).map(|_| (server, site))
    })?;
    let mut plugins = site.plugins.iter();
    let is_counted = plugins.any(|plugin| plugin.name() == "prometheus");
    is_counted.then(|| Owner {
        server: Arc::clone(&server.label),
        zone: site.zone.to_string(),
    })
}

impl Server {
    /// Whether one of its blocks has `kubernetes`.
    fn has_cluster(&self) -> bool {
        let mut plugins = self.all().flat_map(|site| &*site.plugins);
        plugins.any(|plugin| plugin.cluster().is_some())
    }

    /// What of a zone it does not answer from that zone alone.
    fn claims(&self, zone: &Arc<RwLock<Zone>>, config: &ZoneConfig, rotate: bool) -> Vec<Claim> {
        let mut claims = Vec::new();
        for apex in config.zones() {
            match self.longest(apex) {
                None => claims.push(Claim {
                    touch: Touch::Below(apex.clone()),
                    reason: format!("no server block for it at {}", self.label),
                }),
                // The one may be asked for DS records of the other's names.
                Some(site) => {
                    let sites = [Some(site), self.shortest(apex)];
                    let sites = sites.into_iter().flatten();
                    claims.extend(sites.flat_map(|site| site.claims(zone, apex)));
                }
            }
        }
        let viewed = self.all().filter(|site| site.view.is_some());
        for site in viewed {
            let regions = config.zones().filter_map(|apex| {
                let viewed = Touch::Below(site.zone.clone());
                viewed.within(apex)
            });
            claims.extend(regions.map(|touch| Claim {
                touch,
                reason: format!("`view`, in the server block {}", site.zone),
            }));
        }
        let mut inner: Vec<_> = self.all().filter(|site| site.view.is_none()).collect();
        let is_within = |key: &Name| config.zones().any(|apex| apex.zone_of(key) && apex != key);
        inner.retain(|site| is_within(&site.zone));
        inner.sort_by_key(|site| &site.zone);
        for site in inner {
            let key = &site.zone;
            if site.plugin_of(zone).is_some() {
                claims.push(Claim {
                    touch: Touch::Name(key.clone()),
                    reason: format!("the server block {key}, whose DS is its parent's"),
                });
            }
            claims.extend(site.claims(zone, key));
        }
        // The programs rotate all addresses or none.
        let keys = self.all().map(|site| &site.zone);
        for region in config.domains().chain(keys) {
            if config.domains().any(|domain| domain.zone_of(region))
                && let Some(site) = self.longest(region)
                && site.rotates(zone) != rotate
            {
                claims.push(Claim {
                    touch: Touch::Below(region.clone()),
                    reason: "`loadbalance`, which not all server blocks have".to_owned(),
                });
            }
        }
        claims
    }
}

impl Site {
    /// Where the plugin stands that answers from a zone.
    fn plugin_of(&self, zone: &Arc<RwLock<Zone>>) -> Option<usize> {
        self.plugins.iter().position(|plugin| {
            let cluster = plugin.cluster();
            cluster.is_some_and(|cluster| Arc::ptr_eq(cluster, zone))
        })
    }

    /// Whether addresses of that zone are shuffled.
    fn rotates(&self, zone: &Arc<RwLock<Zone>>) -> bool {
        let ahead = self.plugin_of(zone).unwrap_or(0);
        self.plugins[..ahead].iter().any(|plugin| plugin.rotates())
    }

    /// What of the names at and below `region` it does not answer from that zone alone.
    fn claims(&self, zone: &Arc<RwLock<Zone>>, region: &Name) -> Vec<Claim> {
        let Some(at) = self.plugin_of(zone) else {
            return vec![Claim {
                touch: Touch::Below(region.clone()),
                reason: format!(
                    "the server block {}, which has no `kubernetes` for it",
                    self.zone
                ),
            }];
        };
        let mut claims = Vec::new();
        for plugin in &self.plugins[..=at] {
            let touches = plugin.touches();
            let within = touches.iter().filter_map(|touch| touch.within(region));
            let reason = match plugin.cluster() {
                Some(_) => "`fallthrough` of `kubernetes`".to_owned(),
                None => format!("`{}`", plugin.name()),
            };
            claims.extend(within.map(|touch| Claim {
                touch,
                reason: reason.clone(),
            }));
        }
        claims
    }
}
