//! `bind`: where a server block is served.
//!
//! ```text
//! bind ADDRESS|INTERFACE... {            an interface stands for its addresses of now
//!     except ADDRESS|INTERFACE...
//! }
//! ```

use std::net::{IpAddr, SocketAddr};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

use super::Builder;
use crate::corefile::{Directive, Fault, Word};

/// Reads every `bind` of a server block: all their addresses together.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    for directive in directives {
        let expected = "at least one address or interface";
        if directive.args.is_empty() {
            return Err(directive.wrong_arguments(expected));
        }
        let mut addresses = addresses(&directive.args)?;
        for property in directive.properties() {
            if property.name.text != "except" {
                return Err(property.unknown_property("bind", &["except"]));
            }
            if property.args.is_empty() {
                return Err(property.wrong_arguments(expected));
            }
            let except = self::addresses(&property.args)?;
            addresses.retain(|address| !except.contains(address));
        }
        for address in addresses {
            if !builder.listen.contains(&address) {
                builder.listen.push(address);
            }
        }
    }
    match directives.last() {
        // One of several may be without, as in `CoreDNS`.
        Some(last) if builder.listen.is_empty() => Err(Fault::new(
            last.span(),
            "`bind` to no address at all",
            "addresses that `except` leaves",
        )),
        _ => Ok(()),
    }
}

/// Port 0 stands for that of the key; an address of a link keeps its interface.
fn addresses(words: &[Word]) -> Result<Vec<SocketAddr>, Fault> {
    let mut addresses = Vec::new();
    for word in words {
        let of_interface = of_interface(&word.text);
        match word.text.parse::<IpAddr>() {
            _ if !of_interface.is_empty() => addresses.extend(of_interface),
            Ok(address) => addresses.push(SocketAddr::new(address, 0)),
            Err(_) => return Err(word.not("an IP address, or an interface with one")),
        }
    }
    Ok(addresses)
}

fn of_interface(name: &str) -> Vec<SocketAddr> {
    let all = getifaddrs().into_iter().flatten();
    let ours = all.filter(|interface| interface.interface_name == name);
    ours.filter_map(|interface| interface.address.as_ref().and_then(socket_address))
        .collect()
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in();
    let v6 = address.as_sockaddr_in6();
    v4.map(|v4| SocketAddr::V4((*v4).into()))
        .or_else(|| v6.map(|v6| SocketAddr::V6((*v6).into())))
}
