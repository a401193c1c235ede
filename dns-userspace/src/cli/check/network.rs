//! The pods' network on this node.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::{
    outcome::{Hints, Outcome},
    surroundings::Surroundings,
};
use crate::kernel::BRIDGES;

pub(super) async fn bridge_address(surroundings: &mut Surroundings) -> Outcome {
    let own = addresses();
    if own.is_empty() {
        return Outcome::skipped(format!(
            "none of {} is here: another network plugin",
            BRIDGES.join(", ")
        ));
    }
    let networks = match surroundings.pod_networks().await {
        Ok(networks) => networks,
        Err(why) => {
            return Outcome::skipped(format!(
                "the network of this node's pods is not known: {why}"
            ));
        }
    };
    let is_of_family = |address: &IpAddr| {
        let mut families = networks.iter().map(|network| network.addr().is_ipv4());
        families.any(|is_v4| is_v4 == address.is_ipv4())
    };
    let outside: Vec<String> = (own.iter())
        .filter(|(_, address)| is_of_family(address))
        .filter(|(_, address)| !networks.iter().any(|network| network.contains(address)))
        .map(|(device, address)| format!("{device} has {address}"))
        .collect();
    let shown: Vec<String> = networks.iter().map(IpNet::to_string).collect();
    let facts = json!({
        "addresses": own.iter().map(|(_, address)| address).collect::<Vec<_>>(),
        "pod_networks": shown,
    });
    let shown = shown.join(", ");
    let outcome = if outside.is_empty() {
        Outcome::ok(format!(
            "the bridge's addresses are of this node's pods' network, {shown}"
        ))
    } else {
        Outcome::failure(
            format!(
                "{}, which is outside of this node's pods' network, {shown}",
                outside.join(", ")
            ),
            &Hints {
                meaning: "new pods get no address, or one to which no answer finds the way back (failed to set bridge addr: \"cni0\" already has an IP address different from …): the bridge is left from another cluster, or the node's network has changed",
                see: "ip addr show cni0; kubectl get node NAME -o jsonpath='{.spec.podCIDRs}'; cat /run/flannel/subnet.env",
                fix: "on a drained node: ip link delete cni0 (the network plugin makes it anew), and restart the network plugin's pod",
            },
        )
    };
    outcome.facts(facts)
}

/// What bridges of pods have. Link-local addresses come by themselves.
fn addresses() -> Vec<(String, IpAddr)> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let of_bridges = all.filter(|entry| BRIDGES.contains(&&*entry.interface_name));
    of_bridges
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address
                .as_sockaddr_in()
                .map(|address| IpAddr::V4(address.ip()));
            let v6 = address
                .as_sockaddr_in6()
                .map(|address| IpAddr::V6(address.ip()));
            let address = v4.or(v6)?;
            let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            (!is_link_local).then_some((entry.interface_name, address))
        })
        .collect()
}
