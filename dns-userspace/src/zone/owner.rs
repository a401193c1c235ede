//! An owner name, spelt once.
//!
//! What a change touches goes from the zone to who copies it elsewhere in the form in which it is hashed, compared and
//! stored there, and is never taken apart into labels and put together again on the way.

use std::{fmt, ops::RangeInclusive};

use hickory_proto::rr::Name;

use crate::wire;

/// Bytes of a label (RFC 1035 section 2.3.4).
const LABEL_BYTES: RangeInclusive<usize> = 1..=63;

/// A name in wire form and lower case, the root label included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerName(Box<[u8]>);

impl OwnerName {
    /// The same name, in lower case.
    pub fn new(name: &Name) -> Self {
        OwnerName(wire::lower_name(name).into())
    }

    /// `labels`, which are in lower case, in front of a name; `None` if that is longer than a name can be.
    pub(super) fn below(domain: &Self, labels: &[&[u8]]) -> Option<Self> {
        let before: usize = labels.iter().map(|label| 1 + label.len()).sum();
        let bytes = before + domain.0.len();
        let are_labels = labels.iter().all(|l| LABEL_BYTES.contains(&l.len()));
        if !are_labels || bytes > Name::MAX_LENGTH {
            return None;
        }
        let mut wire = Vec::with_capacity(bytes);
        for label in labels {
            wire.push(u8::try_from(label.len()).ok()?);
            wire.extend_from_slice(label);
        }
        wire.extend_from_slice(&domain.0);
        Some(OwnerName(wire.into()))
    }

    /// A name that is in wire form and lower case already.
    pub(super) fn of_wire(wire: &[u8]) -> Self {
        OwnerName(wire.into())
    }

    /// The bytes.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Its labels without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels_of(&self.0)
    }

    /// The same name.
    pub fn name(&self) -> Name {
        let mut name = Name::root();
        for label in self.labels() {
            // It has come from a name, or was measured when it was made.
            name = name.append_label(label).unwrap_or_default();
        }
        name
    }
}

/// The labels of a name in wire form without the root.
pub(super) fn labels_of(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    wire::suffixes(wire).filter_map(|suffix| {
        let (length, rest) = suffix.split_first()?;
        (*length != 0).then_some(rest.get(..usize::from(*length))?)
    })
}

/// The offset at which a name goes on with another one, which it lies in, and the number of labels before.
pub(super) fn lies_in(name: &[u8], zone: &[u8]) -> Option<(usize, usize)> {
    let start = name.len().checked_sub(zone.len())?;
    if name[start..] != *zone {
        return None;
    }
    let (mut offset, mut labels) = (0, 0);
    while offset < start {
        offset += 1 + usize::from(name[offset]);
        labels += 1;
    }
    // Else the zone's first length is the end of a label.
    (offset == start).then_some((start, labels))
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

impl fmt::Debug for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(text: &str) -> OwnerName {
        OwnerName::new(&Name::from_ascii(text).expect("a name"))
    }

    #[test]
    fn a_name_is_what_it_was_made_of() {
        let label = |name: Name, label: &[u8]| name.append_label(label).expect("room");
        let odd = label(label(Name::root(), b"A.b"), b"c\0d\xff");
        let named = |text| Name::from_ascii(text).expect("a name");
        for name in [
            odd,
            named("."),
            named("a."),
            named("Web.Shop.cluster.local."),
        ] {
            let owner = OwnerName::new(&name);
            assert_eq!(owner.name(), name);
            assert!(owner.name().eq_case(&name.to_lowercase()), "{name}");
            assert_eq!(owner.labels().count(), name.iter().len());
        }
        let below = OwnerName::below(&owner("local."), &[b"web", b"shop"]);
        assert_eq!(below, Some(owner("web.shop.local.")));
    }

    #[test]
    fn no_name_is_longer_than_a_name() {
        let (longest, one_more) = ([b'a'; 63], [b'a'; 64]);
        let label = &longest[..];
        let of = |labels: &[&[u8]]| OwnerName::below(&owner("."), labels).map(|o| o.0.len());
        assert_eq!(of(&[label, label, label, &longest[..61]]), Some(255));
        assert_eq!(of(&[label, label, label, &longest[..62]]), None);
        assert_eq!(of(&[&one_more]), None);
        assert_eq!(of(&[b""]), None);
    }

    #[test]
    fn a_zone_begins_with_a_label() {
        let zone = owner("local.");
        let within = |text: &str| lies_in(owner(text).wire(), zone.wire());
        assert_eq!(within("local."), Some((0, 0)));
        assert_eq!(within("a.bc.local."), Some((5, 2)));
        assert_eq!(within("xlocal."), None);
        assert_eq!(within("cal."), None);
        // The bytes of the zone, within a label.
        let odd = (Name::root().append_label(&b"aaaa\x05local"[..])).expect("room");
        assert_eq!(lies_in(OwnerName::new(&odd).wire(), zone.wire()), None);
        assert_eq!(lies_in(owner("a.").wire(), owner(".").wire()), Some((2, 1)));
    }
}
