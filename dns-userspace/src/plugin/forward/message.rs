//! A query as an upstream gets it, and which messages are replies to it.
//!
//! The query is the client's, made anew: its question in the case of the client, RD, AD, CD and all EDNS options.
//! Only the size in OPT is ours, since it says what we receive (RFC 6891 section 6.2.3).
//!
//! A reply has to have the ID and the question (RFC 5452 section 9.1); the name may be in another case, since some
//! servers reply in lower case. The exception are errors that are no more than a header: some servers say FORMERR
//! and NOTIMP so. Nothing can be put into a cache with them.

use std::sync::Arc;

use hickory_proto::{
    op::{Header, OpCode, Query as Question, ResponseCode},
    rr::{RData, Record, RecordType},
    serialize::binary::{BinDecodable as _, BinDecoder, DecodeError},
};

use super::super::{Reply, Request, reply::Flags, request};
use crate::{
    socket::{self, UDP_ANSWER_BYTES_MAX},
    wire::write_name,
};

const HEADER_BYTES: usize = 12;
const TYPE_AND_CLASS_BYTES: usize = 4;
/// Without options.
const OPT_BYTES: usize = 11;
const TYPE_OPT: u16 = 41;
const LABEL_BYTES_MAX: u8 = 63;

/// Types whose names may be compressed, and which hickory has no form of its own for.
const MD: u16 = 3;
const MF: u16 = 4;
const MB: u16 = 7;
const MG: u16 = 8;
const MR: u16 = 9;
const MINFO: u16 = 14;
const RP: u16 = 17;
const AFSDB: u16 = 18;
const RT: u16 = 21;
const KX: u16 = 36;

const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;

/// A query without an ID.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    bytes: Vec<u8>,
    name_end: usize,
}

impl Query {
    /// What a client asks.
    pub fn forwarded(request: &Request) -> Self {
        let mut question = Vec::with_capacity(request.question.len());
        write_name(&mut question, &request.name);
        question.extend_from_slice(&u16::from(request.rtype).to_be_bytes());
        question.extend_from_slice(&request.class.to_be_bytes());
        let edns = request.edns.as_ref();
        let edns = edns.map(|edns| (edns.dnssec_ok, &*edns.options));
        Self::new(&question, request.header, edns)
    }

    /// The same, before a request is made of it.
    pub fn ahead(asked: &socket::Query<'_>, authentic_data: bool) -> Self {
        let header = request::Header {
            authentic_data,
            ..asked.header
        };
        let edns = asked.edns.map(|opt| (opt.dnssec_ok, opt.options));
        Self::new(asked.question, header, edns)
    }

    /// A plain question.
    pub fn question(
        name: &hickory_proto::rr::Name,
        rtype: RecordType,
        class: u16,
        recursion_desired: bool,
    ) -> Self {
        let mut question = Vec::new();
        write_name(&mut question, name);
        question.extend_from_slice(&u16::from(rtype).to_be_bytes());
        question.extend_from_slice(&class.to_be_bytes());
        let header = request::Header {
            recursion_desired,
            ..request::Header::default()
        };
        Self::new(&question, header, None)
    }

    /// Name, type and class; RD, AD and CD; DO and EDNS options.
    fn new(question: &[u8], header: request::Header, edns: Option<(bool, &[u8])>) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + question.len() + OPT_BYTES);
        bytes.resize(HEADER_BYTES, 0);
        bytes[2] = u8::from(header.recursion_desired);
        bytes[3] = u8::from(header.authentic_data) << 5 | u8::from(header.checking_disabled) << 4;
        bytes[5] = 1;
        bytes.extend_from_slice(question);
        let name_end = bytes.len() - TYPE_AND_CLASS_BYTES;
        if let Some((dnssec_ok, options)) = edns {
            bytes[11] = 1;
            bytes.push(0);
            bytes.extend_from_slice(&TYPE_OPT.to_be_bytes());
            bytes.extend_from_slice(&UDP_ANSWER_BYTES_MAX.to_be_bytes());
            // Extended RCODE, version, DO and other flags.
            bytes.extend_from_slice(&[0, 0, u8::from(dnssec_ok) << 7, 0]);
            // They were read from a message, behind a length of 16 bits.
            let length = u16::try_from(options.len()).unwrap_or(0);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&options[..length.into()]);
        }
        Query { bytes, name_end }
    }

    /// The message with an ID, behind `prefix` bytes that are left free.
    pub fn with_id(&self, id: u16, prefix: usize) -> Vec<u8> {
        let mut message = vec![0; prefix];
        message.extend_from_slice(&self.bytes);
        message[prefix..prefix + 2].copy_from_slice(&id.to_be_bytes());
        message
    }

    /// The message with an ID, into memory of the caller.
    pub fn write(&self, id: u16, message: &mut Vec<u8>) {
        message.clear();
        message.extend_from_slice(&self.bytes);
        message[..2].copy_from_slice(&id.to_be_bytes());
    }

    /// Bytes of the message.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All that an upstream is told, the name in lower case: equal for queries whose answers are the same.
    /// Over TCP the answer may be whole where over UDP it is not.
    pub fn key(&self, udp: bool) -> Arc<[u8]> {
        let mut key = Vec::with_capacity(self.bytes.len() + 1);
        key.extend_from_slice(&self.bytes);
        key[HEADER_BYTES..self.name_end].make_ascii_lowercase();
        key.push(udp.into());
        key.into()
    }

    /// Whether a message is the reply to this query under this ID.
    pub fn is_answered_by(&self, id: u16, message: &[u8]) -> bool {
        if message.len() < HEADER_BYTES
            || message[..2] != id.to_be_bytes()
            || message[2] & QR == 0
            || message[2] & OPCODE != 0
        {
            return false;
        }
        if message[4..HEADER_BYTES] == [0; 8] {
            let rcode = message[3] & 0x0f;
            return rcode != ResponseCode::NoError.low() && rcode != ResponseCode::NXDomain.low();
        }
        let (name, tail) = (
            HEADER_BYTES..self.name_end,
            self.name_end..self.name_end + TYPE_AND_CLASS_BYTES,
        );
        // Lengths of labels are no letters.
        let is_named = (message.get(name.clone()))
            .is_some_and(|theirs| theirs.eq_ignore_ascii_case(&self.bytes[name]));
        message[4..6] == [0, 1] && is_named && message.get(tail.clone()) == Some(&self.bytes[tail])
    }
}

/// Reads a reply. What ends too early is a reply that was cut off: truncated, and without records.
///
/// # Errors
///
/// It cannot be read.
pub fn decode(message: &[u8]) -> Result<Reply, DecodeError> {
    let mut decoder = BinDecoder::new(message);
    let error = match read(&mut decoder) {
        Ok(reply) => return Ok(reply),
        Err(error) => error,
    };
    let ends_early = match error {
        DecodeError::InsufficientBytes => true,
        // Data of a record, of which this is left.
        DecodeError::IncorrectRDataLengthRead { read, len, .. } => {
            read < len && read == decoder.len()
        }
        _ => false,
    };
    if !ends_early || message.len() < HEADER_BYTES {
        return Err(error);
    }
    Ok(Reply {
        flags: Flags {
            authoritative: message[2] & 0x04 != 0,
            truncated: true,
            recursion_available: message[3] & 0x80 != 0,
            authentic_data: message[3] & 0x20 != 0,
        },
        ..Reply::bare(ResponseCode::from_low(message[3] & 0x0f))
    })
}

fn read(decoder: &mut BinDecoder<'_>) -> Result<Reply, DecodeError> {
    let Header {
        mut metadata,
        counts,
    } = Header::read(decoder)?;
    for _ in 0..counts.queries {
        Question::read(decoder)?;
    }
    let mut section = |count: u16, is_additional| {
        // An update may have records without data, and so may we: some types have none.
        hickory_proto::op::Message::read_records(
            decoder,
            count.into(),
            is_additional,
            OpCode::Update,
        )
    };
    let answers: Vec<Record> = section(counts.answers, false)?.0;
    let authority = section(counts.authorities, false)?.0;
    let (additionals, edns, _) = section(counts.additionals, true)?;
    for record in answers.iter().chain(&authority).chain(&additionals) {
        check_names(record)?;
    }
    let mut options = Vec::new();
    if let Some(edns) = &edns {
        metadata.merge_response_code(edns.rcode_high());
        for (code, option) in edns.options().as_ref() {
            // What was just read has a wire form.
            let data = Vec::<u8>::try_from(option).unwrap_or_default();
            options.push((u16::from(*code), data));
        }
    }
    Ok(Reply {
        flags: Flags {
            authoritative: metadata.authoritative,
            truncated: metadata.truncation,
            recursion_available: metadata.recursion_available,
            authentic_data: metadata.authentic_data,
        },
        answers,
        authority,
        additionals,
        options,
        ..Reply::bare(metadata.response_code)
    })
}

/// The data of old types with names in them is passed on as it stands. A compression pointer in it (RFC 3597
/// section 4) would point into a message that is no longer there.
fn check_names(record: &Record) -> Result<(), DecodeError> {
    let RData::Unknown { code, rdata } = &record.data else {
        return Ok(());
    };
    let (skipped, names) = match u16::from(*code) {
        MD | MF | MB | MG | MR => (0, 1),
        MINFO | RP => (0, 2),
        AFSDB | RT | KX => (2, 1),
        _ => return Ok(()),
    };
    let mut rest = rdata.anything.get(skipped..).unwrap_or_default();
    for _ in 0..names {
        while let [length, behind @ ..] = rest {
            if *length > LABEL_BYTES_MAX {
                return Err(DecodeError::UnrecognizedLabelCode(*length));
            }
            rest = behind.get(usize::from(*length)..).unwrap_or_default();
            if *length == 0 {
                break;
            }
        }
    }
    Ok(())
}
