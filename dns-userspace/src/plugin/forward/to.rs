//! The arguments TO of `forward`.
//!
//! ```text
//! 192.0.2.1   192.0.2.1:1053   2001:db8::1   [2001:db8::1]:53   dns://192.0.2.1   tls://192.0.2.1
//! tls://192.0.2.1%dns.example:10853          the name that its certificate must have
//! /etc/resolv.conf                           the `nameserver` lines of a file
//! ```

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use crate::corefile::{Fault, Word};

const PORT_DNS: u16 = 53;
const PORT_TLS: u16 = 853;

/// One upstream as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// Where it is.
    pub address: SocketAddr,
    /// Over TLS.
    pub tls: bool,
    /// The name behind `%`.
    pub server_name: Option<String>,
}

/// The upstreams that a word stands for: several if it is a file.
///
/// # Errors
///
/// It is no address and no file, or needs what hopzero does not have.
pub fn read(word: &Word) -> Result<Vec<To>, Fault> {
    let (tls, rest) = match word.text.split_once("://") {
        None => (false, word.text.as_str()),
        Some(("dns", rest)) => (false, rest),
        Some(("tls", rest)) => (true, rest),
        Some((scheme, _)) => {
            return Err(Fault::new(
                word.span,
                format!("hopzero does not forward over `{scheme}://`"),
                "an address, `dns://` or `tls://` and an address, or a file such as /etc/resolv.conf",
            ));
        }
    };
    if let Some((address, server_name)) = address(rest, if tls { PORT_TLS } else { PORT_DNS }) {
        return Ok(vec![To {
            address,
            tls,
            // Otherwise it is the zone of a link-local address, without effect in CoreDNS too.
            server_name: server_name.filter(|_| tls),
        }]);
    }
    match fs::read_to_string(rest) {
        Ok(text) => Ok((nameservers(&text).into_iter())
            .map(|ip| To {
                address: SocketAddr::new(ip, PORT_DNS),
                tls: false,
                server_name: None,
            })
            .collect()),
        Err(error) => Err(Fault::new(
            word.span,
            format!("`{rest}` is not an address, and cannot be read as a file: {error}"),
            "an address, or a file such as /etc/resolv.conf",
        )
        .help("hopzero does not look up the names of upstreams")),
    }
}

/// `ADDRESS[%NAME][:PORT]`, the address in brackets if it has colons and a port follows.
fn address(text: &str, port_default: u16) -> Option<(SocketAddr, Option<String>)> {
    let (address, name_and_port) = match text.split_once('%') {
        None => (text.to_owned(), None),
        Some((address, rest)) => {
            // A bracket that was opened before the name is closed behind it.
            let (name, port) = match rest.rsplit_once(':') {
                Some((name, port)) => (name, format!(":{port}")),
                None => (rest, String::new()),
            };
            let (name, bracket) = match name.strip_suffix(']') {
                Some(name) => (name, "]"),
                None => (name, ""),
            };
            (
                format!("{address}{bracket}{port}"),
                Some(name.to_owned()).filter(|name| !name.is_empty()),
            )
        }
    };
    let socket = address.parse::<SocketAddr>().ok().or_else(|| {
        let bare = address.trim_matches(['[', ']']);
        let ip: IpAddr = bare.parse().ok()?;
        Some(SocketAddr::new(ip, port_default))
    })?;
    Some((socket, name_and_port))
}

/// The servers of a resolver's configuration, see resolv.conf(5).
pub fn nameservers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next().filter(|word| *word == "nameserver");
            let address = address.and_then(|_| words.next())?;
            address.split('%').next()?.parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<String, String> {
        let all = read(&Word::of(text)).map_err(|fault| fault.message)?;
        let all: Vec<String> = (all.iter())
            .map(|to| {
                let scheme = if to.tls { "tls" } else { "dns" };
                let name = to.server_name.as_deref().unwrap_or("-");
                format!("{scheme} {} {name}", to.address)
            })
            .collect();
        Ok(all.join(", "))
    }

    #[test]
    fn addresses_have_many_forms() {
        for (text, expected) in [
            ("192.0.2.1", "dns 192.0.2.1:53 -"),
            ("192.0.2.1:1053", "dns 192.0.2.1:1053 -"),
            ("dns://192.0.2.1", "dns 192.0.2.1:53 -"),
            ("2001:db8::1", "dns [2001:db8::1]:53 -"),
            ("[2001:db8::1]", "dns [2001:db8::1]:53 -"),
            ("[2001:db8::1]:1053", "dns [2001:db8::1]:1053 -"),
            ("fe80::1%eth0", "dns [fe80::1]:53 -"),
            ("tls://192.0.2.1", "tls 192.0.2.1:853 -"),
            ("tls://192.0.2.1:10853", "tls 192.0.2.1:10853 -"),
            (
                "tls://192.0.2.1%dns.example",
                "tls 192.0.2.1:853 dns.example",
            ),
            (
                "tls://192.0.2.1%dns.example:10853",
                "tls 192.0.2.1:10853 dns.example",
            ),
            (
                "tls://[2001:db8::1%dns.example]:10853",
                "tls [2001:db8::1]:10853 dns.example",
            ),
            (
                "tls://2001:db8::1%dns.example",
                "tls [2001:db8::1]:853 dns.example",
            ),
        ] {
            assert_eq!(told(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_upstream_is_said() {
        for (text, message) in [
            ("https://192.0.2.1", "does not forward over `https://`"),
            ("192.0.2.1:99999", "is not an address"),
            ("dns.example.org", "is not an address"),
            ("/nowhere/resolv.conf", "No such file"),
        ] {
            let fault = told(text).unwrap_err();
            assert!(fault.contains(message), "{text}: {fault}");
        }
    }

    #[test]
    fn files_name_their_servers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "# nameserver 192.0.2.9\nsearch a.example\nnameserver 192.0.2.1\n\
                    nameserver\t2001:db8::1\nnameserver fe80::1%eth0\nnameserver nonsense\n";
        fs::write(file.path(), text).unwrap();
        assert_eq!(
            told(file.path().to_str().unwrap()).unwrap(),
            "dns 192.0.2.1:53 -, dns [2001:db8::1]:53 -, dns [fe80::1]:53 -"
        );
    }
}
