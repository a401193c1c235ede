//! Writing a reply, in the one form that the parent module's diagram fixes.

use hickory_proto::{
    ProtoError,
    op::ResponseCode,
    rr::{Name, RData},
};

use super::{
    Reply, UDP_ANSWER_BYTES_MAX,
    query::{Edns, HEADER_BYTES, Header, Query},
};
use crate::{
    wire::{pointer, pointer_to_question, pointer_to_suffix, write_record},
    zone::Answer,
};

/// Root owner, type, class, TTL, length of no options.
const OPT_BYTES: usize = 11;
const TYPE_OPT: u16 = 41;

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

/// The counts of the three sections, or `None` where they do not fit.
fn write_sections(
    bytes: &mut Vec<u8>,
    query: &Query<'_>,
    answer: &Answer,
    bytes_max: usize,
) -> Result<Option<[u16; 3]>, ProtoError> {
    let mut counts = [0; 3];
    let mut target: Option<(&Name, u16)> = None;
    for record in &answer.answers {
        let owner = pointer_to_question(&query.name, &record.name).or_else(|| {
            let (name, pointer) = target?;
            (*name == record.name).then_some(pointer)
        });
        let data = write_record(bytes, owner, record)?;
        if let RData::CNAME(cname) = &record.data {
            target = pointer(data).map(|pointer| (&cname.0, pointer));
        }
        // Cannot overflow: a record has at least 11 bytes, and a message at most 65535.
        counts[0] += 1;
        if bytes.len() > bytes_max {
            return Ok(None);
        }
    }
    for record in &answer.authority {
        write_record(bytes, pointer_to_suffix(&query.name, &record.name), record)?;
        counts[1] += 1;
    }
    for record in &answer.additionals {
        let owner = pointer_to_question(&query.name, &record.name);
        write_record(bytes, owner, record)?;
        counts[2] += 1;
        if bytes.len() > bytes_max {
            return Ok(None);
        }
    }
    Ok((bytes.len() <= bytes_max).then_some(counts))
}
