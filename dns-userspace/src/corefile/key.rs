//! What a server block's key means.
//!
//! ```text
//! [TRANSPORT://]ZONE[:PORT]        ZONE: a domain, or a network, whose reverse zones are meant
//!
//! .:53   example.org   dns://example.org:1053   tls://.   10.96.0.0/14   fd00:10:96::/112
//! ```

use hickory_proto::rr::Name;
use ipnet::IpNet;

use super::{error::Fault, lexer::Word};

/// How queries come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP and TCP, port 53.
    Dns,
    /// DNS over TLS (RFC 7858), port 853.
    Tls,
}

impl Transport {
    /// As it stands before `://`.
    pub fn scheme(self) -> &'static str {
        match self {
            Transport::Dns => "dns",
            Transport::Tls => "tls",
        }
    }

    /// The port of a key without one.
    pub fn port(self) -> u16 {
        match self {
            Transport::Dns => 53,
            Transport::Tls => 853,
        }
    }
}

/// One zone, where it is served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Lower case, absolute.
    pub zone: Name,
    /// Its port.
    pub port: u16,
    /// How.
    pub transport: Transport,
}

impl Key {
    /// The zones of a key: one, or several if a network's prefix is not at a label's border.
    ///
    /// # Errors
    ///
    /// Not a transport, zone or port that can be served.
    pub fn parse(word: &Word, port_default: u16) -> Result<Vec<Key>, Fault> {
        let fault = |message: String, expected: &str| Fault::new(word.span, message, expected);
        let (transport, rest) = match word.text.split_once("://") {
            None => (Transport::Dns, word.text.as_str()),
            Some(("dns", rest)) => (Transport::Dns, rest),
            Some(("tls", rest)) => (Transport::Tls, rest),
            Some((scheme, _)) => {
                return Err(fault(
                    format!("hopzero does not serve `{scheme}://`"),
                    "`dns://` or `tls://`",
                ));
            }
        };
        let (zone, port) = split_port(rest);
        let port = match port {
            None if transport == Transport::Dns => port_default,
            None => transport.port(),
            Some(port) => port
                .parse()
                .map_err(|_| fault(format!("`{port}` is not a port"), "a number up to 65535"))?,
        };
        let zones = zones(zone).map_err(|message| fault(message, "a domain or a network"))?;
        Ok((zones.into_iter())
            .map(|zone| Key {
                zone,
                port,
                transport,
            })
            .collect())
    }
}

/// What follows the last colon, if it could be a port: an IPv6 network has colons before its `/`.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((zone, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (zone, Some(port)),
        _ => (text, None),
    }
}

/// The zones that a domain or a network stands for.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn zones(text: &str) -> Result<Vec<Name>, String> {
    if text.is_empty() {
        return Err("a key without a zone".to_owned());
    }
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(reverse_zones(network));
    }
    let mut name = Name::from_utf8(text)
        .map_err(|error| format!("`{text}` is not a domain: {error}"))?
        .to_lowercase();
    name.set_fqdn(true);
    Ok(vec![name])
}

/// The reverse zones that cover a network exactly: one, or as many as there are labels between its
/// prefix and the next border.
pub fn reverse_zones(network: IpNet) -> Vec<Name> {
    let bits_of_label = match network {
        IpNet::V4(_) => 8,
        IpNet::V6(_) => 4,
    };
    // A /0 is the family's whole tree.
    let border = network.prefix_len().div_ceil(bits_of_label) * bits_of_label;
    let labels = usize::from(border / bits_of_label);
    (network.subnets(border).into_iter().flatten())
        .map(|subnet| {
            let name = Name::from(subnet.network());
            name.trim_to(labels + 2)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Vec<String>, String> {
        let keys = Key::parse(&Word::of(text), 53).map_err(|fault| fault.message)?;
        Ok((keys.iter())
            .map(|key| format!("{}://{}:{}", key.transport.scheme(), key.zone, key.port))
            .collect())
    }

    #[test]
    fn keys_are_zones_ports_and_transports() {
        for (text, expected) in [
            (".", &["dns://.:53"][..]),
            (".:1053", &["dns://.:1053"]),
            ("Example.ORG", &["dns://example.org.:53"]),
            ("example.org.:5353", &["dns://example.org.:5353"]),
            ("dns://.:53", &["dns://.:53"]),
            ("tls://.", &["tls://.:853"]),
            ("tls://example.org:5553", &["tls://example.org.:5553"]),
            ("10.0.0.0/8", &["dns://10.in-addr.arpa.:53"]),
            ("10.96.0.0/16:1053", &["dns://96.10.in-addr.arpa.:1053"]),
            ("10.0.0.0/24", &["dns://0.0.10.in-addr.arpa.:53"]),
            (
                "10.96.0.0/15",
                &[
                    "dns://96.10.in-addr.arpa.:53",
                    "dns://97.10.in-addr.arpa.:53",
                ],
            ),
            ("10.1.2.3/32", &["dns://3.2.1.10.in-addr.arpa.:53"]),
            ("2001:db8::/32", &["dns://8.b.d.0.1.0.0.2.ip6.arpa.:53"]),
            (
                "2001:db8::/32:1053",
                &["dns://8.b.d.0.1.0.0.2.ip6.arpa.:1053"],
            ),
            (
                "fd00::/7",
                &["dns://c.f.ip6.arpa.:53", "dns://d.f.ip6.arpa.:53"],
            ),
        ] {
            assert_eq!(keys(text).unwrap(), expected, "{text}");
        }
        assert_eq!(keys("10.0.0.0/12").unwrap().len(), 16);
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        for (text, message) in [
            ("https://.", "does not serve `https://`"),
            (".:70000", "`70000` is not a port"),
            (":53", "without a zone"),
            (".:", "`` is not a port"),
            ("a..b", "is not a domain"),
        ] {
            let told = keys(text).unwrap_err();
            assert!(told.contains(message), "{text}: {told}");
        }
    }
}
