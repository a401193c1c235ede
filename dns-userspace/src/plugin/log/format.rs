//! The form of a line.
//!
//! | placeholder | |
//! |---|---|
//! | `{type}` `{class}` `{name}` | what was asked, the name in lower case |
//! | `{proto}` | `udp` or `tcp` |
//! | `{remote}` `{port}` `{local}` | addresses, IPv6 in brackets |
//! | `{size}` `{rsize}` | bytes of query and reply |
//! | `{rcode}` `{>rflags}` | of the reply; `-` if there is none |
//! | `{duration}` | in seconds, with an `s` |
//! | `{>id}` `{>opcode}` `{>do}` `{>bufsize}` | of the query |
//! | `{common}` `{combined}` | the form of `CoreDNS`, and that with the OPCODE |
//! | `{/LABEL}` | metadata; `-` if nobody knows it, or there is no `metadata` |
//!
//! What is no placeholder stands there as it is.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    net::IpAddr,
};

use hickory_proto::rr::{DNSClass, RecordType};

use crate::{
    plugin::{Sent, metrics::rcode_label, sent::Replied},
    socket::{TCP_ANSWER_BYTES_MAX, Transport, UDP_ANSWER_BYTES_PLAIN},
};

const COMMON: &str = r#"{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode} {>rflags} {rsize} {duration}"#;
/// What stands for a value that there is not.
const NOTHING: &str = "-";

/// Pieces of a line, one after the other.
#[derive(Debug)]
pub(super) struct Format(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Value(Value),
    /// What plugins know, by a label.
    Metadata(String),
}

/// Writes one placeholder's value.
type Value = fn(&mut String, &Sent<'_>) -> fmt::Result;

impl Format {
    /// The one without a FORMAT.
    pub fn common() -> Self {
        Format::parse(COMMON)
    }

    /// A FORMAT.
    pub fn parse(text: &str) -> Self {
        let text = text.replace("{common}", COMMON);
        let text = text.replace("{combined}", &format!("{COMMON} \"{{>opcode}}\""));
        let mut pieces = Vec::new();
        let mut rest = &*text;
        while let Some(end) = rest.find('}') {
            let (head, tail) = rest.split_at(end + 1);
            rest = tail;
            let start = head.rfind('{');
            match start.and_then(|start| Some((start, placeholder(&head[start..])?))) {
                Some((start, placeholder)) => {
                    push_text(&mut pieces, &head[..start]);
                    pieces.push(placeholder);
                }
                None => push_text(&mut pieces, head),
            }
        }
        push_text(&mut pieces, rest);
        Format(pieces)
    }

    /// The line for a query.
    pub fn of(&self, sent: &Sent<'_>) -> String {
        let mut line = String::with_capacity(160);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => line.push_str(text),
                // A string has room for everything.
                Piece::Value(value) => value(&mut line, sent).unwrap_or_default(),
                Piece::Metadata(label) => {
                    line.push_str(sent.metadata(label).as_deref().unwrap_or(NOTHING));
                }
            }
        }
        line
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(before)) => before.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// In its braces.
fn placeholder(text: &str) -> Option<Piece> {
    let label = text
        .strip_prefix("{/")
        .and_then(|rest| rest.strip_suffix('}'));
    match label {
        Some(label) => Some(Piece::Metadata(label.to_owned())),
        None => value(text).map(Piece::Value),
    }
}

fn value(placeholder: &str) -> Option<Value> {
    Some(match placeholder {
        "{type}" => |line, sent| line.write_str(&type_label(sent.rtype)),
        "{class}" => |line, sent| line.write_str(&class_label(sent.class)),
        "{name}" => |line, sent| write!(line, "{}", sent.name.to_lowercase()),
        "{proto}" => |line, sent| {
            line.write_str(match sent.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            })
        },
        "{remote}" => |line, sent| write_ip(line, sent.client.ip()),
        "{port}" => |line, sent| write!(line, "{}", sent.client.port()),
        "{local}" => |line, sent| write_ip(line, sent.local.ip()),
        "{size}" => |line, sent| write!(line, "{}", sent.query_bytes),
        "{rsize}" => |line, sent| write!(line, "{}", sent.reply.bytes),
        "{rcode}" => |line, sent| match sent.reply.rcode {
            None => line.write_str(NOTHING),
            Some(rcode) => {
                let label = rcode_label(rcode);
                // One without a name is its number alone.
                line.write_str(label.strip_prefix("RCODE").unwrap_or(&label))
            }
        },
        "{>rflags}" => write_flags,
        "{duration}" => |line, sent| write!(line, "{}s", sent.duration.as_secs_f64()),
        "{>id}" => |line, sent| write!(line, "{}", sent.header.id),
        "{>opcode}" => |line, sent| write!(line, "{}", sent.header.opcode),
        "{>do}" => |line, sent| {
            let dnssec_ok = sent.edns.is_some_and(|edns| edns.dnssec_ok);
            write!(line, "{dnssec_ok}")
        },
        "{>bufsize}" => |line, sent| {
            let bytes = match (sent.transport, sent.edns) {
                (Transport::Tcp, _) => TCP_ANSWER_BYTES_MAX,
                (Transport::Udp, Some(edns)) => edns.udp_bytes,
                (Transport::Udp, None) => UDP_ANSWER_BYTES_PLAIN,
            };
            write!(line, "{bytes}")
        },
        _ => return None,
    })
}

fn write_ip(line: &mut String, ip: IpAddr) -> fmt::Result {
    match ip {
        IpAddr::V4(ip) => write!(line, "{ip}"),
        IpAddr::V6(ip) => write!(line, "[{ip}]"),
    }
}

fn write_flags(line: &mut String, sent: &Sent<'_>) -> fmt::Result {
    let Replied {
        rcode: Some(_),
        flags,
        ..
    } = sent.reply
    else {
        return line.write_str(NOTHING);
    };
    line.write_str("qr")?;
    for (flag, is_set) in [
        (",aa", flags.authoritative),
        (",tc", flags.truncated),
        (",rd", sent.header.recursion_desired),
        (",ra", flags.recursion_available),
        (",ad", flags.authentic_data),
        (",cd", sent.header.checking_disabled),
    ] {
        if is_set {
            line.write_str(flag)?;
        }
    }
    Ok(())
}

/// Types and classes without a name are numbers (RFC 3597 section 5).
fn type_label(rtype: RecordType) -> Cow<'static, str> {
    match rtype {
        RecordType::Unknown(number) => format!("TYPE{number}").into(),
        known => known.to_string().into(),
    }
}

fn class_label(class: u16) -> Cow<'static, str> {
    match DNSClass::from(class) {
        DNSClass::IN => "IN".into(),
        DNSClass::CH => "CH".into(),
        DNSClass::HS => "HS".into(),
        DNSClass::NONE => "NONE".into(),
        DNSClass::ANY => "ANY".into(),
        _ => format!("CLASS{class}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, and `_` for each value.
    fn shape(text: &str) -> String {
        let pieces = Format::parse(text).0;
        let shown = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Value(_) | Piece::Metadata(_) => "_",
        });
        shown.collect()
    }

    #[test]
    fn placeholders_are_found_and_nothing_else() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{type}", "_"),
            ("a {type} b {name}", "a _ b _"),
            ("{ {type} }", "{ _ }"),
            ("{none} {type}", "{none} _"),
            ("a } {type}", "a } _"),
            ("{type", "{type"),
            ("{/meta/label}!", "_!"),
            ("{common}", r#"_:_ - _ "_ _ _ _ _ _ _" _ _ _ _"#),
            ("{combined}", r#"_:_ - _ "_ _ _ _ _ _ _" _ _ _ _ "_""#),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }
}
