//! `--attach auto`: the device of a route.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
};

use super::{KernelError, netlink};

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    /// `None`: the default route.
    to: Option<IpNet>,
    family: AddressFamily,
    metric: u32,
    device: u32,
}

/// The device by which packets to a network leave this node; without one, by the default route, of IPv4 if there is one.
///
/// # Errors
/// There is no such route.
pub fn device_towards(network: Option<IpNet>) -> Result<String, KernelError> {
    let routes = routes().map_err(|source| KernelError::Netlink {
        what: "the routes",
        source,
    })?;
    let device = choose(&routes, network);
    let name = device.and_then(|device| nix::net::if_::if_indextoname(device).ok());
    let name = name.and_then(|name| name.into_string().ok());
    name.ok_or_else(|| KernelError::NoRoute {
        to: network.map_or_else(
            || "default route".to_owned(),
            |network| format!("route to {network}"),
        ),
    })
}

fn choose(routes: &[Route], network: Option<IpNet>) -> Option<u32> {
    let leads = |route: &&Route| match (network, route.to) {
        (None, to) => to.is_none(),
        (Some(network), Some(to)) => to.contains(&network),
        (Some(network), None) => (route.family == AddressFamily::Inet) == network.addr().is_ipv4(),
    };
    let prefix = |route: &Route| route.to.map_or(0, |to| to.prefix_len());
    let best = routes.iter().filter(leads).min_by_key(|route| {
        let is_v6 = route.family != AddressFamily::Inet;
        (is_v6, std::cmp::Reverse(prefix(route)), route.metric)
    });
    best.map(|route| route.device)
}

fn routes() -> io::Result<Vec<Route>> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        let answers = netlink::dump(RouteNetlinkMessage::GetRoute(question))?;
        routes.extend(answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => read(route),
            _ => None,
        }));
    }
    Ok(routes)
}

fn read(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let (mut to, mut device, mut metric) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => to = Some(IpAddr::V4(*v4)),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => to = Some(IpAddr::V6(*v6)),
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let to = match to {
        Some(address) => Some(IpNet::new(address, header.destination_prefix_length).ok()?),
        None => None,
    };
    Some(Route {
        to,
        family: header.address_family,
        metric,
        device: device?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_route_leads() {
        let route = |to: &str, metric, device| Route {
            to: (to != "default" && to != "default6").then(|| to.parse().unwrap()),
            family: if to.contains(':') || to == "default6" {
                AddressFamily::Inet6
            } else {
                AddressFamily::Inet
            },
            metric,
            device,
        };
        let routes = [
            route("default6", 1, 9),
            route("default", 200, 1),
            route("default", 100, 2),
            route("10.0.0.0/8", 0, 3),
            route("10.244.0.0/16", 0, 4),
            route("10.244.1.0/24", 0, 5),
            route("fd00:10::/32", 0, 6),
        ];
        let chosen = |to: Option<&str>| choose(&routes, to.map(|to| to.parse().unwrap()));
        assert_eq!(chosen(None), Some(2));
        assert_eq!(chosen(Some("10.244.0.0/16")), Some(4));
        assert_eq!(chosen(Some("10.244.1.0/24")), Some(5));
        assert_eq!(chosen(Some("10.1.0.0/16")), Some(3));
        assert_eq!(chosen(Some("192.168.0.0/16")), Some(2));
        assert_eq!(chosen(Some("fd00:10:244::/48")), Some(6));
        assert_eq!(chosen(Some("fd01::/48")), Some(9));
        assert_eq!(choose(&routes[..1], None), Some(9));
        assert_eq!(choose(&[], None), None);
    }
}
