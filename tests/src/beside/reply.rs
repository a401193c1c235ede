//! What a reply says, whatever order and compression its records have.

use std::fmt;

use hickory_proto::{
    op::Message,
    rr::{Record, RecordType},
};

/// TTLs count down in caches: both were asked within the same moment, but not within the same second.
const TTL_SLACK: u32 = 1;

/// A reply, as far as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// QR, OPCODE, AA, TC, RD, RA, Z, AD and CD as they stand there.
    pub flags: u16,
    /// With its extended bits.
    pub rcode: u16,
    /// The question as it came back.
    pub question: String,
    /// Its OPT record.
    pub edns: Option<Edns>,
    /// Answer, authority, additional.
    pub sections: [Vec<Line>; 3],
    /// The bytes, where they are no message; none: silence.
    pub unreadable: Option<Vec<u8>>,
}

/// What its OPT record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edns {
    /// What its sender takes.
    pub size: u16,
    /// DO
    pub dnssec_ok: bool,
    /// Codes and data.
    pub options: String,
}

/// A record. Names compare in their case.
#[derive(Clone, Debug, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Owner name.
    pub owner: String,
    /// CLASS and TYPE
    pub rtype: String,
    /// As in a zone file.
    pub data: String,
    /// Seconds.
    pub ttl: u32,
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        (&self.owner, &self.rtype, &self.data) == (&other.owner, &other.rtype, &other.data)
            && self.ttl.abs_diff(other.ttl) <= TTL_SLACK
    }
}

impl Seen {
    /// Reads a reply.
    pub fn new(bytes: Vec<u8>) -> Self {
        let Ok(message) = Message::from_vec(&bytes) else {
            return Seen {
                flags: 0,
                rcode: 0,
                question: String::new(),
                edns: None,
                sections: [const { Vec::new() }; 3],
                unreadable: Some(bytes),
            };
        };
        let sections = [&message.answers, &message.authorities, &message.additionals];
        Seen {
            flags: u16::from_be_bytes([bytes[2], bytes[3]]) & 0xfff0,
            rcode: message.metadata.response_code.into(),
            question: format!("{:?}", message.queries),
            edns: message.edns.as_ref().map(|edns| Edns {
                size: edns.max_payload(),
                dnssec_ok: edns.flags().dnssec_ok,
                options: format!("{:?}", edns.options().as_ref()),
            }),
            sections: sections.map(|section| sorted(section)),
            unreadable: None,
        }
    }
}

fn sorted(section: &[Record]) -> Vec<Line> {
    let line = |record: &Record| {
        let rtype: RecordType = record.record_type();
        Line {
            owner: record.name.to_string(),
            rtype: format!("{} {rtype}", record.dns_class),
            data: record.data.to_string(),
            ttl: record.ttl,
        }
    };
    let mut lines: Vec<_> = section.iter().map(line).collect();
    lines.sort();
    lines
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = &self.unreadable {
            return write!(f, "{bytes:02x?}");
        }
        write!(f, "RCODE {} {:04x}", self.rcode, self.flags)?;
        if let Some(edns) = &self.edns {
            write!(
                f,
                " edns {} do {} {}",
                edns.size, edns.dnssec_ok, edns.options
            )?;
        }
        for section in &self.sections {
            let records = section.iter().map(|line| {
                let Line {
                    owner,
                    rtype,
                    data,
                    ttl,
                } = line;
                format!("{owner} {ttl} {rtype} {data}")
            });
            write!(f, " ; {}", records.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}
