//! The text form of names and records (RFC 1035 section 5.1).

use std::str::FromStr as _;

use domain::{
    base::{
        self,
        iana::{Class, OptRcode, Rtype, TsigRcode},
    },
    zonefile::inplace::{Entry, ScannedRecord, Zonefile},
};
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

/// A name, with or without the dot at its end.
pub fn name(text: &str) -> Option<Name> {
    let name = base::Name::<Vec<u8>>::from_str(text).ok()?;
    let labels = name.iter().filter(|label| !label.is_root());
    Name::from_labels(labels.map(base::name::Label::as_slice)).ok()
}

/// With the dot at the end, as expressions see it.
pub fn show(name: &Name) -> String {
    let mut text = String::new();
    for label in name {
        for &byte in label {
            match byte {
                b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                    text.extend(['\\', byte.into()]);
                }
                b'!'..=b'~' => text.push(byte.into()),
                _ => {
                    let digit = |of: u8| char::from(b'0' + byte / of % 10);
                    text.extend(['\\', digit(100), digit(10), digit(1)]);
                }
            }
        }
        text.push('.');
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

/// A type by its name.
pub fn rtype(text: &str) -> Option<RecordType> {
    let rtype = Rtype::from_str(text).ok()?;
    Some(RecordType::from(rtype.to_int()))
}

/// A class by its name.
pub fn class(text: &str) -> Option<u16> {
    if text.eq_ignore_ascii_case("ANY") {
        return Some(Class::ANY.to_int());
    }
    Class::from_str(text).ok().map(Class::to_int)
}

/// An RCODE by its name.
pub fn rcode(text: &str) -> Option<ResponseCode> {
    // Numbers are not names.
    let text =
        Some(text.to_ascii_uppercase()).filter(|text| !text.starts_with(char::is_numeric))?;
    let rcode = OptRcode::from_str(&text).map(OptRcode::to_int);
    let rcode = rcode.or_else(|()| TsigRcode::from_str(&text).map(TsigRcode::to_int));
    rcode.ok().map(Into::into)
}

/// One record. Names are absolute; the TTL is an hour and the class IN unless they are there.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn record(text: &str) -> Result<Record, String> {
    let mut file = Zonefile::from(format!("{text}\n").as_str()).allow_invalid();
    file.set_origin(base::Name::root());
    file.set_default_class(Class::IN);
    match file.next_entry() {
        Ok(Some(Entry::Record(record))) => decoded(&record),
        Ok(_) => Err("no record".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The record as the rest of the program has it.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn decoded(record: &ScannedRecord) -> Result<Record, String> {
    let mut bytes = Vec::new();
    record
        .compose(&mut bytes)
        .map_err(|error| error.to_string())?;
    let mut decoder = BinDecoder::new(&bytes);
    Record::read(&mut decoder).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for text in [
            "www.example.org.",
            ".",
            "a\\.b.c.",
            "\\000\\255.x.",
            "-x._y.*.",
            "a\\ b\\;.",
        ] {
            assert_eq!(show(&name(text).unwrap()), text);
        }
        assert_eq!(show(&name("A.B").unwrap()), "A.B.");
        for text in ["", "a..b", ".a", "\\256.a"] {
            assert_eq!(name(text), None, "{text}");
        }
        assert_eq!(name(&"a.".repeat(128)), None);
    }

    #[test]
    fn records_of_every_kind() {
        for (text, shown) in [
            (
                "a.example. 60 IN A 192.0.2.1",
                "a.example. 60 IN A 192.0.2.1",
            ),
            ("a A 192.0.2.1", "a. 3600 IN A 192.0.2.1"),
            ("a. CH TXT \"x y\" z", "a. 3600 CH TXT x yz"),
            ("a. 1 SOA b c (1 2 3 4 5)", "a. 1 IN SOA b. c. 1 2 3 4 5"),
        ] {
            assert_eq!(record(text).unwrap().to_string(), shown);
        }
        let dname = record("a. DNAME b.").unwrap();
        assert_eq!(dname.record_type(), RecordType::DNAME);
        assert_eq!(
            record("a. DS 1 8 2 abcd").unwrap().record_type(),
            RecordType::DS
        );
        for text in ["", "a.", "a. 60 IN A 192.0.2", "a. IN NOTYPE x"] {
            assert!(record(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mnemonics() {
        assert_eq!(rtype("AAAA"), Some(RecordType::AAAA));
        assert_eq!(rtype("ANY"), Some(RecordType::ANY));
        assert_eq!(rtype("TYPE65280"), Some(RecordType::from(65280)));
        assert_eq!(rtype("XYZ"), None);
        assert_eq!(
            (class("IN"), class("ANY"), class("X")),
            (Some(1), Some(255), None)
        );
        assert_eq!(rcode("nxdomain"), Some(ResponseCode::NXDomain));
        assert_eq!(rcode("BADKEY"), Some(ResponseCode::BADKEY));
        assert_eq!(rcode("X"), None);
    }
}
