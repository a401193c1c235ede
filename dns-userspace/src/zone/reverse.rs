//! Reverse names: addresses spelt backwards.
//!
//! ```text
//! 10.96.0.1   1.0.96.10.in-addr.arpa.        an octet a label (RFC 1035 section 3.5)
//! fd00::1     1.0.0.….0.0.d.f.ip6.arpa.      a nibble a label (RFC 3596 section 2.5)
//! ```
//!
//! A name with fewer labels stands for a prefix: the empty non-terminal above all addresses in it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use hickory_proto::rr::Name;

use super::owner::OwnerName;

/// Labels of the reverse name of an IPv6 address.
const LABELS_MAX: usize = 34;
/// Bytes of the same: 32 nibbles, `ip6`, `arpa`, the root.
const WIRE_BYTES_MAX: usize = 32 * 2 + 4 + 5 + 1;

/// An address and how many of its leading bits a reverse name spells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Bits after the prefix are zero.
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The prefix that a lower-case name spells in its only canonical form.
    pub fn of_name(name: &Name) -> Option<Self> {
        Self::of_labels(name.iter())
    }

    /// The same of its labels.
    pub(super) fn of_labels<'n>(labels: impl Iterator<Item = &'n [u8]>) -> Option<Self> {
        let mut all = [&b""[..]; LABELS_MAX];
        let mut count = 0;
        for label in labels {
            *all.get_mut(count)? = label;
            count += 1;
        }
        let mut labels = all[..count].iter().rev().copied();
        if labels.next()? != b"arpa" {
            return None;
        }
        match labels.next()? {
            b"in-addr" => {
                let mut octets = [0; 4];
                let mut bits = 0;
                for label in labels {
                    *octets.get_mut(usize::from(bits / 8))? = octet(label)?;
                    bits += 8;
                }
                let address = IpAddr::from(octets);
                Some(Self { address, bits })
            }
            b"ip6" => {
                let mut address = 0_u128;
                let mut bits = 0;
                for label in labels {
                    let shift = 124_u32.checked_sub(u32::from(bits))?;
                    address |= u128::from(nibble(label)?) << shift;
                    bits += 4;
                }
                let address = IpAddr::from(Ipv6Addr::from_bits(address));
                Some(Self { address, bits })
            }
            _ => None,
        }
    }

    /// The address, if the name spells all of it.
    pub fn address(self) -> Option<IpAddr> {
        (self.bits == address_bits(self.address)).then_some(self.address)
    }

    /// The addresses that begin so.
    pub fn range(self) -> RangeInclusive<IpAddr> {
        let last = match self.address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() | host).into()
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() | host).into()
            }
        };
        self.address..=last
    }
}

/// The reverse name of an address.
pub fn name_of(address: IpAddr) -> Name {
    let mut name = Name::from(address);
    name.set_fqdn(true);
    name
}

/// The same in wire form.
pub(super) fn owner_of(address: IpAddr) -> OwnerName {
    let mut wire = Vec::with_capacity(WIRE_BYTES_MAX);
    let mut push = |label: &[u8]| {
        // Three digits, or less than eight letters.
        wire.push(u8::try_from(label.len()).unwrap_or(0));
        wire.extend_from_slice(label);
    };
    match address {
        IpAddr::V4(address) => {
            for octet in address.octets().into_iter().rev() {
                let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
                let leading = digits.iter().take(2).take_while(|digit| **digit == b'0');
                push(&digits[leading.count()..]);
            }
            push(b"in-addr");
        }
        IpAddr::V6(address) => {
            for octet in address.octets().into_iter().rev() {
                for nibble in [octet & 15, octet >> 4] {
                    push(&[b"0123456789abcdef"[usize::from(nibble)]]);
                }
            }
            push(b"ip6");
        }
    }
    push(b"arpa");
    wire.push(0);
    OwnerName::of_wire(&wire)
}

/// How many bits of its address a reverse name with `labels` labels spells (`in-addr.arpa` and
/// `ip6.arpa` themselves: none).
pub fn bits_of_labels(address: IpAddr, labels: usize) -> usize {
    let bits = if address.is_ipv4() { 8 } else { 4 };
    labels.saturating_sub(2) * bits
}

fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `010` is not how an octet is spelt, so it names nothing.
fn octet(label: &[u8]) -> Option<u8> {
    let canonical = label == b"0" || (label.first()? != &b'0' && label.len() <= 3);
    let digits = label.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(label)
        .ok()
        .filter(|_| canonical && digits)?
        .parse()
        .ok()
}

fn nibble(label: &[u8]) -> Option<u8> {
    match label {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [digit @ b'a'..=b'f'] => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(name: &str) -> Option<Prefix> {
        Prefix::of_name(&Name::from_ascii(name).expect("a name"))
    }

    #[test]
    fn names_and_addresses_are_inverse() {
        for address in [
            "10.96.0.1",
            "0.0.0.0",
            "1.9.10.99",
            "100.101.110.200",
            "255.255.255.255",
            "fd00:9abc::1",
            "::",
        ] {
            let address: IpAddr = address.parse().expect("an address");
            let prefix = Prefix::of_name(&name_of(address)).expect("a reverse name");
            assert_eq!(prefix.address(), Some(address));
            assert_eq!(prefix.range(), address..=address);
            assert_eq!(owner_of(address), OwnerName::new(&name_of(address)));
        }
    }

    #[test]
    fn a_short_name_is_a_range() {
        for (name, first, last) in [
            ("in-addr.arpa.", "0.0.0.0", "255.255.255.255"),
            ("96.10.in-addr.arpa.", "10.96.0.0", "10.96.255.255"),
            (
                "d.f.ip6.arpa.",
                "fd00::",
                "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ),
            ("ip6.arpa.", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let prefix = prefix(name).expect("a prefix");
            let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(prefix.range(), parse(first)..=parse(last), "{name}");
            assert_eq!(prefix.address(), None, "{name}");
        }
    }

    #[test]
    fn odd_spellings_name_nothing() {
        for name in [
            "01.10.in-addr.arpa.",
            "256.in-addr.arpa.",
            "x.in-addr.arpa.",
            "5.4.3.2.1.in-addr.arpa.",
            "10.ip6.arpa.",
            "g.ip6.arpa.",
            "arpa.",
            "example.com.",
        ] {
            assert_eq!(prefix(name), None, "{name}");
        }
        let too_long = format!("{}ip6.arpa.", "0.".repeat(33));
        assert_eq!(prefix(&too_long), None);
    }
}
