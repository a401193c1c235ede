//! Replies as text and as JSON.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, Record},
};
use serde_json::{Value, json};

use super::client::Exchange;
use crate::socket::Transport;

/// The data of each answer, one a line, as `dig +short` does. What else there is to say goes to
/// standard error, so that a script reads only data.
pub(super) fn short(exchange: &Exchange) -> io::Result<()> {
    let reply = &exchange.reply;
    let mut out = io::stdout().lock();
    for record in &reply.answers {
        writeln!(out, "{}", data(&record.data))?;
    }
    let asked = reply.queries.first().map(ToString::to_string);
    let asked = asked.unwrap_or_default();
    if reply.metadata.response_code != ResponseCode::NoError {
        eprintln!("{} {asked}", rcode(reply.metadata.response_code));
    } else if reply.answers.is_empty() {
        eprintln!("NODATA {asked}");
    }
    Ok(())
}

/// The whole reply.
pub(super) fn json(exchange: &Exchange) -> io::Result<()> {
    let Exchange {
        server,
        transport,
        elapsed,
        reply,
    } = exchange;
    let flags = &reply.metadata;
    let records = |records: &[Record]| records.iter().map(record).collect::<Value>();
    let document = json!({
        "server": server.to_string(),
        "transport": match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        },
        "elapsed_microseconds": u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "rcode": rcode(flags.response_code),
        "authoritative": flags.authoritative,
        "truncated": flags.truncation,
        "recursion_available": flags.recursion_available,
        "question": reply.queries.first().map(|query| json!({
            "name": query.name.to_ascii(),
            "type": query.query_type.to_string(),
        })),
        "answer": records(&reply.answers),
        "authority": records(&reply.authorities),
        "additional": records(&reply.additionals),
    });
    writeln!(io::stdout(), "{document:#}")
}

fn record(record: &Record) -> Value {
    json!({
        "name": record.name.to_ascii(),
        "type": record.record_type().to_string(),
        "ttl": record.ttl,
        "data": data(&record.data),
    })
}

/// Record data in presentation form (RFC 1035 section 5.1).
fn data(data: &RData) -> String {
    match data {
        RData::TXT(text) => text
            .txt_data
            .iter()
            .map(|string| quoted(string))
            .collect::<Vec<_>>()
            .join(" "),
        RData::Unknown { rdata, .. } => unknown(&rdata.anything),
        other => other.to_string(),
    }
}

/// A character string in quotes; what is not printable as its decimal code.
fn quoted(string: &[u8]) -> String {
    let mut text = String::from('"');
    for &byte in string {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:03}");
            }
        }
    }
    text.push('"');
    text
}

/// RFC 3597 section 5.
fn unknown(bytes: &[u8]) -> String {
    let mut text = format!("\\# {}", bytes.len());
    for (index, byte) in bytes.iter().enumerate() {
        let separator = if index == 0 { " " } else { "" };
        let _ = write!(text, "{separator}{byte:02x}");
    }
    text
}

/// The name that people know an RCODE by.
fn rcode(rcode: ResponseCode) -> String {
    match u16::from(rcode) {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        16 => "BADVERS",
        other => return format!("RCODE{other}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presentation() {
        assert_eq!(quoted(b"1.1.0"), "\"1.1.0\"");
        assert_eq!(quoted(b"a \"b\" \\ \x00\xff"), r#""a \"b\" \\ \000\255""#);
        assert_eq!(unknown(&[0, 0xab]), "\\# 2 00ab");
        assert_eq!(unknown(&[]), "\\# 0");
        assert_eq!(rcode(ResponseCode::BADSIG), "BADVERS");
        assert_eq!(rcode(ResponseCode::Unknown(99)), "RCODE99");
    }
}
