//! Writing a reply, in the one form that the parent module's diagram fixes.

use hickory_proto::{
    ProtoError,
    op::ResponseCode,
    rr::{Name, RData},
};

use super::{Encoded, UDP_ANSWER_BYTES_MAX, query::HEADER_BYTES};
use crate::{
    plugin::{
        Reply,
        reply::Flags,
        request::{Edns, Header},
    },
    wire::{self, pointer, pointer_to_question, pointer_to_suffix, write_record},
};

/// Root owner, type, class, TTL, length of no options.
const OPT_BYTES: usize = 11;
const TYPE_OPT: u16 = 41;

/// A reply that is only a header: the query's rest could not be read, or was not looked at.
pub(super) fn bare(header: Header, rcode: ResponseCode) -> Encoded {
    let mut bytes = vec![0; HEADER_BYTES];
    write_header(&mut bytes, header, Flags::default(), rcode, [0; 4]);
    Encoded {
        bytes,
        rcode,
        truncated: false,
        further: Vec::new(),
    }
}

/// What a reply echoes.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub header: Header,
    /// Name, type and class as they stand in the query.
    pub question: &'a [u8],
    /// The name in it.
    pub name: &'a Name,
    pub edns: Option<&'a Edns>,
}

/// The reply to a well-formed query: all of `reply`, or none of its records and TC=1.
pub(super) fn reply(asked: Asked<'_>, reply: &Reply, bytes_max: usize) -> Encoded {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(asked.question);
    let options: usize = reply.options.iter().map(|(_, data)| 4 + data.len()).sum();
    let opt_bytes = match asked.edns {
        Some(_) => OPT_BYTES + options,
        None => 0,
    };

    let mut rcode = reply.rcode;
    let mut flags = reply.flags;
    let room = bytes_max.saturating_sub(opt_bytes);
    let mut counts = match write_sections(&mut bytes, asked.name, reply, room) {
        Ok(Some(counts)) => counts,
        Ok(None) => {
            flags.truncated = true;
            [0; 3]
        }
        Err(error) => {
            tracing::error!(name = %asked.name, %error, "record cannot be encoded");
            rcode = ResponseCode::ServFail;
            flags.authoritative = false;
            [0; 3]
        }
    };
    if counts == [0; 3] {
        bytes.truncate(HEADER_BYTES + asked.question.len());
    }
    if let Some(edns) = asked.edns {
        write_opt(&mut bytes, edns.dnssec_ok, rcode, &reply.options);
        counts[2] += 1;
    }
    let [answers, authority, additionals] = counts;
    let counts = [1, answers, authority, additionals];
    write_header(&mut bytes, asked.header, flags, rcode, counts);
    Encoded {
        bytes,
        rcode,
        truncated: flags.truncated,
        further: Vec::new(),
    }
}

pub(super) fn write_header(
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
        | u8::from(flags.authentic_data) << 5
        | u8::from(header.checking_disabled) << 4
        | rcode.low();
    for (field, count) in bytes[4..HEADER_BYTES].chunks_exact_mut(2).zip(counts) {
        field.copy_from_slice(&count.to_be_bytes());
    }
}

pub(super) fn write_opt(
    bytes: &mut Vec<u8>,
    dnssec_ok: bool,
    rcode: ResponseCode,
    options: &[(u16, Vec<u8>)],
) {
    bytes.push(0);
    bytes.extend_from_slice(&TYPE_OPT.to_be_bytes());
    bytes.extend_from_slice(&UDP_ANSWER_BYTES_MAX.to_be_bytes());
    // Extended RCODE, version, DO and 15 more flags, length of the options.
    let dnssec_ok = u8::from(dnssec_ok) << 7;
    bytes.extend_from_slice(&[rcode.high(), 0, dnssec_ok, 0]);
    // Options are a plugin's, a few bytes each.
    let length = |data: usize| u16::try_from(data).unwrap_or(u16::MAX).to_be_bytes();
    let all: usize = options.iter().map(|(_, data)| 4 + data.len()).sum();
    bytes.extend_from_slice(&length(all));
    for (code, data) in options {
        bytes.extend_from_slice(&code.to_be_bytes());
        bytes.extend_from_slice(&length(data.len()));
        bytes.extend_from_slice(data);
    }
}

/// The counts of the three sections, or `None` where they do not fit.
pub(super) fn write_sections(
    bytes: &mut Vec<u8>,
    name: &Name,
    reply: &Reply,
    bytes_max: usize,
) -> Result<Option<[u16; 3]>, ProtoError> {
    if reply.compressed {
        return wire::write_compressed(
            bytes,
            name,
            [&reply.answers, &reply.authority, &reply.additionals],
            bytes_max,
        );
    }
    let mut counts = [0; 3];
    let mut target: Option<(&Name, u16)> = None;
    for record in &reply.answers {
        let owner = pointer_to_question(name, &record.name).or_else(|| {
            let (target, pointer) = target?;
            (*target == record.name).then_some(pointer)
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
    for record in &reply.authority {
        write_record(bytes, pointer_to_suffix(name, &record.name), record)?;
        counts[1] += 1;
    }
    for record in &reply.additionals {
        let owner = pointer_to_question(name, &record.name);
        write_record(bytes, owner, record)?;
        counts[2] += 1;
        if bytes.len() > bytes_max {
            return Ok(None);
        }
    }
    Ok((bytes.len() <= bytes_max).then_some(counts))
}
