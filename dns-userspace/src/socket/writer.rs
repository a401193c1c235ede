//! Writing a reply, in the one form that the parent module's diagram fixes.

use hickory_proto::{
    ProtoError,
    op::ResponseCode,
    rr::{Name, Record},
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};

use super::{
    Reply, UDP_ANSWER_BYTES_MAX,
    query::{Edns, HEADER_BYTES, Header, Query},
};
use crate::zone::Answer;

/// Root owner, type, class, TTL, length of no options.
const OPT_BYTES: usize = 11;
const TYPE_OPT: u16 = 41;
/// The two high bits of a compression pointer.
const POINTER: u16 = 0xc000;

/// A reply that is only a header: the query's rest could not be read, or was not looked at.
pub(super) fn bare(header: Header, rcode: ResponseCode, recursion_available: bool) -> Reply {
    let mut bytes = vec![0; HEADER_BYTES];
    let flags = Flags {
        authoritative: false,
        truncated: false,
        recursion_available,
    };
    write_header(&mut bytes, header, flags, rcode, [0; 4]);
    Reply {
        bytes,
        rcode,
        truncated: false,
    }
}

/// The reply to a well-formed query: all of `answer`, or none of it and TC=1.
pub(super) fn reply(
    query: &Query<'_>,
    answer: &Answer,
    bytes_max: usize,
    recursion_available: bool,
) -> Reply {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(query.question);
    let opt_bytes = if query.edns.is_some() { OPT_BYTES } else { 0 };

    let mut rcode = answer.rcode;
    let mut authoritative = answer.authoritative;
    let mut truncated = false;
    let mut counts = match write_sections(&mut bytes, query, answer, bytes_max - opt_bytes) {
        Ok(Some(counts)) => counts,
        Ok(None) => {
            truncated = true;
            [0; 3]
        }
        Err(error) => {
            tracing::error!(name = %query.name, rtype = %query.rtype, %error, "record cannot be encoded");
            rcode = ResponseCode::ServFail;
            authoritative = false;
            [0; 3]
        }
    };
    if counts == [0; 3] {
        bytes.truncate(HEADER_BYTES + query.question.len());
    }
    if let Some(edns) = query.edns {
        write_opt(&mut bytes, edns, rcode);
        counts[2] += 1;
    }
    let flags = Flags {
        authoritative,
        truncated,
        recursion_available,
    };
    let [answers, authority, additionals] = counts;
    let counts = [1, answers, authority, additionals];
    write_header(&mut bytes, query.header, flags, rcode, counts);
    Reply {
        bytes,
        rcode,
        truncated,
    }
}

#[derive(Clone, Copy)]
struct Flags {
    authoritative: bool,
    truncated: bool,
    recursion_available: bool,
}

fn write_header(
    bytes: &mut [u8],
    header: Header,
    flags: Flags,
    rcode: ResponseCode,
    counts: [u16; 4],
) {
    bytes[..2].copy_from_slice(&header.id.to_be_bytes());
    bytes[2] = 0x80
        | header.opcode << 3
        | u8::from(flags.authoritative) << 2
        | u8::from(flags.truncated) << 1
        | u8::from(header.recursion_desired);
    bytes[3] = u8::from(flags.recursion_available) << 7
        | u8::from(header.checking_disabled) << 4
        | rcode.low();
    for (field, count) in bytes[4..HEADER_BYTES].chunks_exact_mut(2).zip(counts) {
        field.copy_from_slice(&count.to_be_bytes());
    }
}

fn write_opt(bytes: &mut Vec<u8>, edns: Edns, rcode: ResponseCode) {
    bytes.push(0);
    bytes.extend_from_slice(&TYPE_OPT.to_be_bytes());
    bytes.extend_from_slice(&UDP_ANSWER_BYTES_MAX.to_be_bytes());
    // Extended RCODE, version, DO and 15 more flags, length of the options.
    let dnssec_ok = u8::from(edns.dnssec_ok) << 7;
    bytes.extend_from_slice(&[rcode.high(), 0, dnssec_ok, 0, 0, 0]);
}

/// Which pointers may replace an owner name.
#[derive(Clone, Copy)]
enum Pointers {
    /// To the whole of the question's name.
    Whole,
    /// To any suffix of it.
    Suffix,
}

/// The counts of the three sections, or `None` where they do not fit.
fn write_sections(
    bytes: &mut Vec<u8>,
    query: &Query<'_>,
    answer: &Answer,
    bytes_max: usize,
) -> Result<Option<[u16; 3]>, ProtoError> {
    let sections = [
        (&answer.answers, Pointers::Whole),
        (&answer.authority, Pointers::Suffix),
        (&answer.additionals, Pointers::Whole),
    ];
    let mut counts = [0; 3];
    for (count, (records, pointers)) in counts.iter_mut().zip(sections) {
        for record in records {
            write_record(bytes, query, record, pointers)?;
            if bytes.len() > bytes_max {
                return Ok(None);
            }
            // Cannot overflow: a record has at least 11 bytes, and a message at most 65535.
            *count += 1;
        }
    }
    Ok(Some(counts))
}

fn write_record(
    bytes: &mut Vec<u8>,
    query: &Query<'_>,
    record: &Record,
    pointers: Pointers,
) -> Result<(), ProtoError> {
    match owner_pointer(&query.name, &record.name, pointers) {
        Some(pointer) => bytes.extend_from_slice(&pointer.to_be_bytes()),
        None => write_name(bytes, &record.name),
    }
    bytes.extend_from_slice(&u16::from(record.record_type()).to_be_bytes());
    bytes.extend_from_slice(&u16::from(record.dns_class).to_be_bytes());
    bytes.extend_from_slice(&record.ttl.to_be_bytes());

    let mut rdata = Vec::new();
    let mut encoder = BinEncoder::new(&mut rdata);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.data.emit(&mut encoder)?;
    let length = u16::try_from(rdata.len())
        .map_err(|_| ProtoError::from("record data longer than 65535 bytes"))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&rdata);
    Ok(())
}

/// The pointer into the question that `owner` may be written as.
fn owner_pointer(question: &Name, owner: &Name, pointers: Pointers) -> Option<u16> {
    let owner_labels = owner.iter().len();
    let skipped = question.iter().len().checked_sub(owner_labels)?;
    let allowed = match pointers {
        Pointers::Whole => skipped == 0,
        Pointers::Suffix => true,
    };
    let same = question
        .iter()
        .skip(skipped)
        .zip(owner)
        .all(|(ours, theirs)| ours.eq_ignore_ascii_case(theirs));
    // The root is one byte, shorter than a pointer to it.
    if !allowed || !same || owner_labels == 0 {
        return None;
    }
    let before: usize = question
        .iter()
        .take(skipped)
        .map(|label| 1 + label.len())
        .sum();
    let offset = u16::try_from(HEADER_BYTES + before).ok()?;
    Some(POINTER | offset)
}

fn write_name(bytes: &mut Vec<u8>, name: &Name) {
    for label in name {
        // A label is at most 63 bytes by construction of the type.
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
}
