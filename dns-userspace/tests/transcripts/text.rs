//! Messages as a transcript has them.
//!
//! ```text
//! a query     PROTO NAME TYPE [CLASS] [notify] [aa] [rd] [ad] [cd] [edns] [do] [option=CODE:HEX]; of a client also
//!             serial=N, the SOA record of an IXFR
//! a reply     RCODE [aa] [tc] [rd] [ra] [ad] [cd] [edns] [option=CODE:HEX] [; ANSWERS [; AUTHORITY [; ADDITIONAL]]]
//! a record    NAME TTL TYPE DATA, the next one behind a comma; of SOA the data may be its MINIMUM alone; of TYPE46, or what
//!             has no name, bytes in hexadecimal
//! ```

use std::{fmt::Write as _, str::FromStr as _};

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{NULL, SOA, TXT, opt::EdnsOption},
    },
    serialize::txt::Parser,
};
use hopzero::plugin::Touch;

/// The words behind the name and type of a query.
pub fn query(id: u16, words: &[&str]) -> Vec<u8> {
    let [name, rtype, flags @ ..] = words else {
        panic!("NAME TYPE in {words:?}");
    };
    let mut query = Query::query(name_of(name), type_of(rtype));
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    for flag in flags {
        match *flag {
            "norec" => message.metadata.recursion_desired = false,
            _ if flag.starts_with("serial=") => {
                let serial = flag["serial=".len()..].parse().unwrap();
                let soa = SOA::new(Name::root(), Name::root(), serial, 0, 0, 0, 0);
                let record = Record::from_rdata(name_of(name), 0, RData::SOA(soa));
                message.authorities.push(record);
            }
            "CH" => {
                query.set_query_class(DNSClass::CH);
            }
            _ => set_flag(&mut message.metadata, &mut message.edns, flag),
        }
    }
    message.add_query(query);
    message.to_vec().unwrap()
}

fn set_flag(metadata: &mut Metadata, edns: &mut Option<Edns>, flag: &str) {
    match flag {
        "aa" => metadata.authoritative = true,
        "tc" => metadata.truncation = true,
        "rd" => metadata.recursion_desired = true,
        "ra" => metadata.recursion_available = true,
        "ad" => metadata.authentic_data = true,
        "cd" => metadata.checking_disabled = true,
        "edns" => {
            edns.get_or_insert_default().set_max_payload(1232);
        }
        "do" => {
            edns.get_or_insert_default().set_dnssec_ok(true);
        }
        _ => {
            if let Some(size) = flag.strip_prefix("size=") {
                let size = size.parse().unwrap();
                edns.get_or_insert_default().set_max_payload(size);
            } else if let Some(option) = flag.strip_prefix("option=") {
                let (code, data) = option.split_once(':').unwrap();
                let option = EdnsOption::Unknown(code.parse().unwrap(), unhex(data));
                let edns = edns.get_or_insert_default();
                edns.options_mut().insert(option);
            } else {
                panic!("unknown flag {flag}");
            }
        }
    }
}

/// A query as an upstream got it.
pub fn show_query(proto: &str, bytes: &[u8]) -> String {
    let message = Message::from_vec(bytes).expect("a query that can be read");
    let query = &message.queries[0];
    let mut text = format!(
        "{proto} {} {}",
        show_name(&query.name),
        show_type(query.query_type)
    );
    if query.query_class != DNSClass::IN {
        write!(text, " {}", query.query_class).unwrap();
    }
    if message.metadata.op_code == OpCode::Notify {
        text += " notify";
    }
    show_flags(&mut text, &message);
    text
}

/// A reply as the client gets it.
pub fn show_reply(bytes: &[u8]) -> String {
    // A record without data is not read here.
    let Ok(message) = Message::from_vec(bytes) else {
        return hex(bytes);
    };
    let mut text = show_rcode(message.metadata.response_code);
    show_flags(&mut text, &message);
    let sections = [&message.answers, &message.authorities, &message.additionals];
    let used = sections.iter().rposition(|section| !section.is_empty());
    for section in &sections[..used.map_or(0, |last| last + 1)] {
        let records: Vec<String> = section.iter().map(show_record).collect();
        write!(text, " ; {}", records.join(", ")).unwrap();
    }
    text
}

fn show_flags(text: &mut String, message: &Message) {
    let metadata = &message.metadata;
    let edns = message.edns.as_ref();
    for (flag, is_set) in [
        ("aa", metadata.authoritative),
        ("tc", metadata.truncation),
        ("rd", metadata.recursion_desired),
        ("ra", metadata.recursion_available),
        ("ad", metadata.authentic_data),
        ("cd", metadata.checking_disabled),
        ("edns", edns.is_some()),
        ("do", edns.is_some_and(|edns| edns.flags().dnssec_ok)),
    ] {
        if is_set {
            write!(text, " {flag}").unwrap();
        }
    }
    for (code, option) in edns.iter().flat_map(|edns| edns.options().as_ref()) {
        let data = Vec::<u8>::try_from(option).unwrap();
        write!(text, " option={}:{}", u16::from(*code), hex(&data)).unwrap();
    }
}

fn show_rcode(rcode: ResponseCode) -> String {
    match u16::from(rcode) {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("RCODE{other}"),
    }
}

fn rcode_of(word: &str) -> ResponseCode {
    (0..=4095u16)
        .map(Into::into)
        .find(|rcode| show_rcode(*rcode) == word)
        .unwrap_or_else(|| panic!("RCODE {word}"))
}

fn show_record(record: &Record) -> String {
    let data = match &record.data {
        RData::Unknown { rdata, .. } => hex(&rdata.anything),
        RData::Update0(_) => String::new(),
        RData::SOA(soa) if *soa == short_soa(soa.minimum) => soa.minimum.to_string(),
        data => data.to_string(),
    };
    format!(
        "{} {} {} {data}",
        show_name(&record.name),
        record.ttl,
        show_type(record.record_type())
    )
    .trim_end()
    .to_owned()
}

/// The reply to a query, with what stands behind `says`.
pub fn reply(query: &[u8], text: &str) -> Message {
    let query = Message::from_vec(query).unwrap();
    let mut sections = text.split(';');
    let mut words = sections.next().unwrap().split_whitespace();
    let mut message = Message::new(
        query.metadata.id,
        MessageType::Response,
        query.metadata.op_code,
    );
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    let rcode = rcode_of(words.next().expect("an RCODE"));
    message.metadata.response_code = rcode;
    message.add_query(query.queries[0].clone());
    for flag in words {
        set_flag(&mut message.metadata, &mut message.edns, flag);
    }
    if let Some(edns) = &mut message.edns {
        edns.set_rcode_high(rcode.high());
    }
    let mut records = sections.map(|section| {
        let records = section.split(',').map(str::trim);
        records
            .filter(|text| !text.is_empty())
            .map(record)
            .collect()
    });
    message.answers = records.next().unwrap_or_default();
    message.authorities = records.next().unwrap_or_default();
    message.additionals = records.next().unwrap_or_default();
    message
}

/// An SOA record of which only the last number matters.
fn short_soa(minimum: u32) -> SOA {
    let (server, mailbox) = (name_of("ns.example.org"), name_of("hostmaster.example.org"));
    SOA::new(server, mailbox, 1, 7200, 1800, 86_400, minimum)
}

fn record(text: &str) -> Record {
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    let [name, ttl, rtype, ..] = words[..] else {
        panic!("record {text}");
    };
    let data = words.get(3).copied().unwrap_or_default();
    let rtype = type_of(rtype);
    let data = match rtype {
        _ if data.is_empty() => RData::Update0(rtype),
        RecordType::TXT => RData::TXT(TXT::new(vec![data.to_owned()])),
        RecordType::SOA if data.parse::<u32>().is_ok() => {
            RData::SOA(short_soa(data.parse().unwrap()))
        }
        // Some data is written in bytes: of signatures, and of what a test makes.
        _ if data.len() % 2 == 0
            && data.bytes().all(|byte| byte.is_ascii_hexdigit())
            && data.len() > 30 =>
        {
            RData::Unknown {
                code: rtype,
                rdata: NULL::with(unhex(data)),
            }
        }
        code if words[2].starts_with("TYPE") => RData::Unknown {
            code,
            rdata: NULL::with(unhex(data)),
        },
        // As in a zone file; names are absolute.
        _ => {
            let line = format!("{text}\n");
            let (_, sets) = Parser::new(line, None, Some(Name::root())).parse().unwrap();
            let set = sets.into_values().next().unwrap();
            set.records_without_rrsigs().next().unwrap().data.clone()
        }
    };
    Record::from_rdata(name_of(name), ttl.parse().unwrap(), data)
}

pub fn show_touch(touch: Touch) -> String {
    match touch {
        Touch::Everything => "*".to_owned(),
        Touch::Name(name) => show_name(&name),
        Touch::Below(name) => format!("below {}", show_name(&name)),
        Touch::Absent(name) => format!("absent {}", show_name(&name)),
        Touch::Present(name) => format!("present {}", show_name(&name)),
        Touch::Matching(regex) => format!("matching {regex}"),
    }
}

pub fn name_of(text: &str) -> Name {
    hopzero::plugin::text::name(text).unwrap()
}

/// Without the dot at the end; the two numbers of `loop`'s name are random.
fn show_name(name: &Name) -> String {
    let labels: Vec<&[u8]> = name.iter().collect();
    let is_number = |label: &&&[u8]| label.len() > 9 && label.iter().all(u8::is_ascii_digit);
    if labels.iter().take(2).filter(is_number).count() == 2 {
        return match &labels[2..] {
            [] => "RANDOM.".to_owned(),
            zone => format!("RANDOM.{}", Name::from_labels(zone.to_vec()).unwrap()),
        };
    }
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => text,
    }
}

fn show_type(rtype: RecordType) -> String {
    match rtype {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

fn type_of(word: &str) -> RecordType {
    match word.strip_prefix("TYPE") {
        Some(number) => RecordType::from(number.parse::<u16>().unwrap()),
        None => RecordType::from_str(word).unwrap(),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}
