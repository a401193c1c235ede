//! Reading a query, strictly: what is not a well-formed query is rejected with the reason.
//!
//! Hickory's decoder is not used here. The reply echoes the question's bytes as they came, and
//! must agree with the kernel's parser on which queries are malformed; a decoder that repairs,
//! skips or rejects by its own rules can do neither.
//!
//! Header (RFC 1035 section 4.1.1, RFC 2535 section 6.1 for AD and CD):
//!
//! ```text
//!     0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
//!   +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
//!   |                      ID                       |
//!   |QR|   OPCODE  |AA|TC|RD|RA| Z|AD|CD|   RCODE   |
//!   |        QDCOUNT        |        ANCOUNT        |  (16 bits each)
//!   |        NSCOUNT        |        ARCOUNT        |
//!   +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
//! ```

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

use super::{DropReason, UDP_ANSWER_BYTES_PLAIN};
use crate::plugin::request::{Edns, Header};

/// The header's length; the question starts here.
pub(super) const HEADER_BYTES: usize = 12;
/// The longest name on the wire (RFC 1035 section 2.3.4).
pub(super) const NAME_BYTES_MAX: usize = 255;
/// The longest label.
const LABEL_BYTES_MAX: usize = 63;
/// Pointers followed in one name. A name has at most 127 labels; more pointers than that serve
/// only to cost us time.
const POINTERS_MAX: usize = 127;
/// As `CoreDNS` accepts them: one SOA, for NOTIFY and IXFR.
const ANSWERS_AND_AUTHORITY_MAX: u16 = 1;
/// As `CoreDNS` accepts them: OPT and one signature.
const ADDITIONALS_MAX: u16 = 2;

/// Behind the name of a question.
const TYPE_AND_CLASS_BYTES: usize = 4;

const OPCODE_QUERY: u8 = 0;
const TYPE_OPT: u16 = 41;
const TYPE_SOA: u16 = 6;
/// The numbers of a SOA record, behind two names of a byte at least.
const SOA_NUMBERS_BYTES: usize = 20;

/// A well-formed query, as it stands in the message.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// What a reply copies.
    pub header: Header,
    /// Name, type and class as they stand in the query.
    pub question: &'a [u8],
    /// The type that is asked.
    pub rtype: RecordType,
    /// The class that is asked.
    pub class: u16,
    /// The OPT record.
    pub edns: Option<Opt<'a>>,
    /// The serial of the zone that the client has (RFC 1995 section 3): of a SOA record in the authority section.
    pub serial: Option<u32>,
}

/// A query's OPT record, as it stands in the message.
#[derive(Clone, Copy, Debug)]
pub struct Opt<'a> {
    /// What the client takes, at least 512.
    pub udp_bytes: u16,
    /// Its version.
    pub version: u8,
    /// DO
    pub dnssec_ok: bool,
    /// Its options, well-formed.
    pub options: &'a [u8],
}

impl<'a> Query<'a> {
    /// The name as it stands in the query.
    pub fn name_bytes(&self) -> &'a [u8] {
        &self.question[..self.question.len() - TYPE_AND_CLASS_BYTES]
    }

    /// The name.
    pub(super) fn name(&self) -> Name {
        let mut labels = Vec::with_capacity(8);
        let mut rest = self.name_bytes();
        while let Some((label, behind)) = next_label(rest) {
            labels.push(label);
            rest = behind;
        }
        // It was read with these limits.
        Name::from_labels(labels).unwrap_or_default()
    }

    /// The OPT record, for who keeps it.
    pub(super) fn edns(&self) -> Option<Edns> {
        self.edns.map(|opt| Edns {
            udp_bytes: opt.udp_bytes,
            version: opt.version,
            dnssec_ok: opt.dnssec_ok,
            options: opt.options.into(),
        })
    }
}

/// The first label of a name that is not compressed, and the rest; `None` for the root.
fn next_label(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = name.split_first()?;
    (length > 0).then(|| rest.split_at_checked(length.into()))?
}

/// Why there is no [`Query`].
#[derive(Debug)]
pub(super) enum Rejected {
    /// Nothing may be sent.
    Silence(DropReason),
    /// A bare header with this RCODE is sent.
    Error(Header, ResponseCode),
}

/// Reads one message.
pub(super) fn parse(message: &[u8]) -> Result<Query<'_>, Rejected> {
    if message.len() < HEADER_BYTES {
        return Err(Rejected::Silence(DropReason::Short));
    }
    if message[2] & 0x80 != 0 {
        return Err(Rejected::Silence(DropReason::Response));
    }
    let header = Header {
        id: u16::from_be_bytes([message[0], message[1]]),
        opcode: message[2] >> 3 & 0x0f,
        recursion_desired: message[2] & 0x01 != 0,
        checking_disabled: message[3] & 0x10 != 0,
        authentic_data: message[3] & 0x20 != 0,
    };
    if header.opcode != OPCODE_QUERY {
        return Err(Rejected::Error(header, ResponseCode::NotImp));
    }
    parse_sections(message, header).ok_or(Rejected::Error(header, ResponseCode::FormErr))
}

/// Everything after the header; `None` is FORMERR.
fn parse_sections(message: &[u8], header: Header) -> Option<Query<'_>> {
    let mut reader = Reader {
        message,
        position: 4,
    };
    let [questions, answers, authority, additionals] =
        [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    if questions != 1
        || answers > ANSWERS_AND_AUTHORITY_MAX
        || authority > ANSWERS_AND_AUTHORITY_MAX
        || additionals > ADDITIONALS_MAX
    {
        return None;
    }

    reader.skip_question_name()?;
    let rtype = RecordType::from(reader.u16()?);
    let class = reader.u16()?;
    let question = &message[HEADER_BYTES..reader.position];

    let mut serial = None;
    for number in 0..answers + authority {
        let record = reader.record()?;
        // OPT belongs into the additional section (RFC 6891 section 6.1.1).
        if record.rtype == TYPE_OPT {
            return None;
        }
        if number >= answers {
            serial = record.serial();
        }
    }
    let mut edns = None;
    for _ in 0..additionals {
        let record = reader.record()?;
        if record.rtype == TYPE_OPT && edns.replace(record.opt()?).is_some() {
            return None;
        }
    }
    (reader.position == message.len()).then_some(Query {
        header,
        question,
        rtype,
        class,
        edns,
        serial,
    })
}

/// One resource record, undecoded.
struct RawRecord<'a> {
    owner_is_root: bool,
    rtype: u16,
    class: u16,
    ttl: [u8; 4],
    rdata: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// The first number of a SOA record (RFC 1035 section 3.3.13).
    fn serial(&self) -> Option<u32> {
        let numbers = self.rdata.len().checked_sub(SOA_NUMBERS_BYTES)?;
        let serial = self.rdata[numbers..].first_chunk()?;
        (self.rtype == TYPE_SOA && numbers >= 2).then_some(u32::from_be_bytes(*serial))
    }

    /// Reads an OPT record: class is the client's size; the TTL is extended RCODE, version, and
    /// flags of which DO is the first.
    fn opt(&self) -> Option<Opt<'a>> {
        if !self.owner_is_root {
            return None;
        }
        // Nobody reads them but plugins; they must be well-formed.
        let mut options = Reader {
            message: self.rdata,
            position: 0,
        };
        while options.position < self.rdata.len() {
            let _code = options.u16()?;
            let length = options.u16()?;
            options.bytes(length.into())?;
        }
        Some(Opt {
            udp_bytes: self.class.max(UDP_ANSWER_BYTES_PLAIN),
            version: self.ttl[1],
            dnssec_ok: self.ttl[2] & 0x80 != 0,
            options: self.rdata,
        })
    }
}

/// A place in a message. Every step returns `None` at the end of the bytes.
struct Reader<'a> {
    message: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(count)?;
        let bytes = self.message.get(self.position..end)?;
        self.position = end;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The question's name. It cannot be compressed: only the header stands before it.
    fn skip_question_name(&mut self) -> Option<()> {
        let start = self.position;
        loop {
            let length = usize::from(self.u8()?);
            if length == 0 {
                return Some(());
            }
            if length > LABEL_BYTES_MAX {
                return None;
            }
            self.bytes(length)?;
            if self.position - start >= NAME_BYTES_MAX {
                return None;
            }
        }
    }

    /// Steps over a name that may be compressed, and says whether it is the root, written as such.
    ///
    /// A pointer must point before the part of the name that it ends, which makes loops and
    /// forward pointers impossible.
    fn skip_name(&mut self) -> Option<bool> {
        let mut walk = Reader {
            message: self.message,
            position: self.position,
        };
        let mut part_start = walk.position;
        let mut name_bytes = 0;
        let mut pointers = 0;
        loop {
            let length = walk.u8()?;
            match length {
                0 => break,
                1..=0x3f => {
                    walk.bytes(length.into())?;
                    name_bytes += 1 + usize::from(length);
                    // The root's byte is still to come.
                    if name_bytes >= NAME_BYTES_MAX {
                        return None;
                    }
                }
                // RFC 2673's bit labels and the reserved 0x80 are history.
                0x40..=0xbf => return None,
                0xc0.. => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(walk.u8()?);
                    if pointers == 0 {
                        self.position = walk.position;
                    }
                    pointers += 1;
                    if !(HEADER_BYTES..part_start).contains(&target) || pointers > POINTERS_MAX {
                        return None;
                    }
                    walk.position = target;
                    part_start = target;
                }
            }
        }
        if pointers == 0 {
            self.position = walk.position;
        }
        Some(pointers == 0 && name_bytes == 0)
    }

    fn record(&mut self) -> Option<RawRecord<'a>> {
        let owner_is_root = self.skip_name()?;
        let rtype = self.u16()?;
        let class = self.u16()?;
        let ttl = self.bytes(4)?.try_into().ok()?;
        let length = self.u16()?;
        Some(RawRecord {
            owner_is_root,
            rtype,
            class,
            ttl,
            rdata: self.bytes(length.into())?,
        })
    }
}
