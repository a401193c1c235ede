//! Writes the answer over the query, in place.
//!
//! ```text
//! Ethernet: addresses swapped │ IP: addresses swapped, length, TTL 64 │ UDP: ports swapped, length, checksum
//! DNS header: ID kept; QR, AA; RD, CD copied; RA if the deployment forwards │ question as asked
//! answer: c0 0c (a pointer to the question) type IN TTL rdata …  │ other records as stored │ OPT, if there was one
//! ```
//!
//! Everything that can fail is done before the first byte is changed: an answer that does not fit, or a
//! packet that cannot be grown, leaves the query as it was.

use crate::{
    checksum::{self, Sum},
    frame::L3,
    layout::{
        CONTROL_RECURSION_AVAILABLE, Control, FLAG_A_TOO_LARGE, FLAG_AAAA_TOO_LARGE,
        FLAG_OTHER_ELSEWHERE, FLAG_SOCKET_ONLY, FLAG_SRV_ELSEWHERE, Scratch, Selection,
    },
    limits::{
        A_MAX, A_RECORD_BYTES, AAAA_MAX, AAAA_RECORD_BYTES, ANSWER_BYTES_MAX, HEADER_BYTES,
        OPT_BYTES, OTHER_BYTES_MAX,
    },
    packet::{Packet, opaque},
    reason::Reason,
    record::Header,
};

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;
/// Flags of byte 2: QR and AA.
const QR_AA: u8 = 0x84;
/// Flags of byte 2 that are copied: RD.
const RD: u8 = 0x01;
/// Flags of byte 3: RA, and CD, which is copied (RFC 6840 section 5.9).
const RA: u8 = 0x80;
const CD: u8 = 0x10;
/// A compression pointer (RFC 1035 section 4.1.4).
const POINTER: u16 = 0xc000;
/// Hop limit of answers.
const TTL: u8 = 64;
/// `c0 0c`, type, class IN: the first six bytes of a record whose owner is the question's name.
const POINTER_A_IN: u64 = 0x0100_0100_0cc0;
const POINTER_AAAA_IN: u64 = 0x0100_1c00_0cc0;

/// What the record has for the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Records, in [`Scratch::selection`].
    Records,
    /// No records of this type: NODATA.
    Nothing,
}

/// Chooses the records for the question from the verified record, into [`Scratch::selection`].
///
/// # Errors
/// Why the kernel does not answer this type.
#[inline(always)]
pub fn select(scratch: &mut Scratch) -> Result<Found, Reason> {
    let header = Header::of(scratch);
    let qtype = scratch.query.qtype;
    let flags = header.flags();
    if flags & FLAG_SOCKET_ONLY != 0 {
        return Err(Reason::SocketOnly);
    }
    let (mut additionals, mut truncated) = (0, 0);
    let (word, answers, records_len) = if qtype == TYPE_A {
        truncated = u8::from(flags & FLAG_A_TOO_LARGE != 0);
        let count = header.a_count();
        (header.a_word(), count as u16, count * A_RECORD_BYTES)
    } else if qtype == TYPE_AAAA {
        truncated = u8::from(flags & FLAG_AAAA_TOO_LARGE != 0);
        let count = header.aaaa_count();
        (header.aaaa_word(), count as u16, count * AAAA_RECORD_BYTES)
    } else {
        let elsewhere = if qtype == TYPE_SRV {
            FLAG_OTHER_ELSEWHERE | FLAG_SRV_ELSEWHERE
        } else {
            FLAG_OTHER_ELSEWHERE
        };
        if flags & elsewhere != 0 {
            return Err(Reason::SocketOnly);
        }
        let word = header.other_word();
        let other = record_word(scratch, word);
        if header.other_len() == 0 || other as u16 != qtype {
            return Ok(Found::Nothing);
        }
        additionals = (other >> 32) as u16;
        (word + 1, (other >> 16) as u16, header.other_len())
    };
    if answers == 0 && truncated == 0 {
        return Ok(Found::Nothing);
    }
    scratch.selection = Selection {
        word: word as u32,
        records_len: records_len as u32,
        message_len: 0,
        answers,
        additionals,
        authority: 0,
        rcode: 0,
        truncated,
        owner: 0,
    };
    Ok(Found::Records)
}

/// Settles the length of the answer. What is larger than the client takes becomes TC=1 without
/// any record (RFC 2181 section 9).
#[inline(always)]
pub fn measure(scratch: &mut Scratch) {
    let Scratch {
        query, selection, ..
    } = scratch;
    let opt = if query.has_opt == 0 { 0 } else { OPT_BYTES };
    let empty = query.question_end() + opt;
    let mut message_len = empty + selection.records_len as usize;
    if message_len > query.answer_bytes_max() {
        selection.truncated = 1;
    }
    if selection.truncated != 0 {
        message_len = empty;
        selection.answers = 0;
        selection.authority = 0;
        selection.additionals = 0;
    }
    selection.message_len = message_len as u32;
}

/// Writes the selected answer; the packet has room for it.
#[inline(always)]
pub fn write(packet: Packet, control: &Control, scratch: &Scratch) -> Option<()> {
    let Scratch {
        query, selection, ..
    } = scratch;
    let dns = scratch.frame.dns as usize;
    let recursion = if control.flags & CONTROL_RECURSION_AVAILABLE == 0 {
        0
    } else {
        RA
    };
    let header = packet.window::<HEADER_BYTES>(dns)?;
    header.write::<u8, 2>(QR_AA | query.flags2 & RD | selection.truncated << 1);
    header.write::<u8, 3>(recursion | query.flags3 & CD | selection.rcode);
    let additionals = selection.additionals + u16::from(query.has_opt);
    header.write::<u16, 6>(selection.answers.to_be());
    header.write::<u16, 8>(selection.authority.to_be());
    header.write::<u16, 10>(additionals.to_be());

    let records = dns + query.question_end();
    if selection.truncated == 0 {
        write_records(packet, records, scratch)?;
    }
    if query.has_opt != 0 {
        // Root, type 41, our size; extended RCODE and version 0, DO; no options (RFC 6891 section
        // 6.1.2).
        let record =
            packet.window::<OPT_BYTES>(dns + selection.message_len as usize - OPT_BYTES)?;
        let size = u64::from((ANSWER_BYTES_MAX as u16).to_be());
        record.write::<u64, 0>(41 << 16 | size << 24 | u64::from(query.dnssec_ok) << 63);
        record.write::<u16, 8>(0);
        record.write::<u8, 10>(0);
    }
    write_headers(packet, scratch)
}

#[inline(always)]
fn write_records(packet: Packet, at: usize, scratch: &Scratch) -> Option<()> {
    let Scratch {
        query, selection, ..
    } = scratch;
    let bytes = selection.records_len as usize;
    if selection.authority != 0 {
        // The SOA's owner is a suffix of the question's name.
        let pointer = POINTER | (HEADER_BYTES as u32 + selection.owner) as u16;
        packet.write(at, pointer.to_be())?;
        return write_other(packet, at + 2, bytes.wrapping_sub(2), scratch);
    }
    match query.qtype {
        TYPE_A => write_a(packet, at, scratch),
        TYPE_AAAA => write_aaaa(packet, at, scratch),
        _ => write_other(packet, at, bytes, scratch),
    }
}

/// A word of the copied record.
#[inline(always)]
fn record_word(scratch: &Scratch, index: usize) -> u64 {
    scratch.record.get(opaque(index)).copied().unwrap_or(0)
}

#[inline(always)]
fn write_a(packet: Packet, at: usize, scratch: &Scratch) -> Option<()> {
    let selection = &scratch.selection;
    let ttl = u64::from(Header::of(scratch).ttl().to_be());
    let (first, second) = (POINTER_A_IN | ttl << 48, ttl >> 16 | 0x0400_0000);
    let mut offset = at;
    for index in 0..A_MAX {
        if index >= selection.answers as usize {
            break;
        }
        let pair = record_word(scratch, selection.word as usize + index / 2);
        let address = if index & 1 == 0 {
            pair << 32
        } else {
            pair & !0xffff_ffff
        };
        let record = packet.window::<A_RECORD_BYTES>(offset)?;
        record.write::<u64, 0>(first);
        record.write::<u64, 8>(second | address);
        offset += A_RECORD_BYTES;
    }
    Some(())
}

#[inline(always)]
fn write_aaaa(packet: Packet, at: usize, scratch: &Scratch) -> Option<()> {
    let selection = &scratch.selection;
    let ttl = u64::from(Header::of(scratch).ttl().to_be());
    let (first, second) = (
        POINTER_AAAA_IN | ttl << 48,
        (ttl >> 16) as u32 | 0x1000_0000,
    );
    let mut offset = at;
    for index in 0..AAAA_MAX {
        if index >= selection.answers as usize {
            break;
        }
        let word = selection.word as usize + 2 * index;
        let record = packet.window::<AAAA_RECORD_BYTES>(offset)?;
        record.write::<u64, 0>(first);
        record.write::<u32, 8>(second);
        record.write::<u64, 12>(record_word(scratch, word));
        record.write::<u64, 20>(record_word(scratch, word + 1));
        offset += AAAA_RECORD_BYTES;
    }
    Some(())
}

#[inline(always)]
fn write_other(packet: Packet, at: usize, bytes: usize, scratch: &Scratch) -> Option<()> {
    let word = scratch.selection.word as usize;
    let whole = bytes / 8;
    let mut offset = at;
    for index in 0..OTHER_BYTES_MAX / 8 {
        if index >= whole {
            break;
        }
        packet.write(offset, record_word(scratch, word + index))?;
        offset += 8;
    }
    // The last one to seven bytes: 4, 2, 1.
    let mut rest = record_word(scratch, word + whole);
    let mut offset = at + whole * 8;
    if bytes & 4 != 0 {
        packet.write(offset, rest as u32)?;
        rest >>= 32;
        offset += 4;
    }
    if bytes & 2 != 0 {
        packet.write(offset, rest as u16)?;
        rest >>= 16;
        offset += 2;
    }
    if bytes & 1 != 0 {
        packet.write(offset, rest as u8)?;
    }
    Some(())
}

/// Turns the headers round.
#[inline(always)]
fn write_headers(packet: Packet, scratch: &Scratch) -> Option<()> {
    let ethernet = packet.head::<L3>()?;
    let (destination4, destination2) = (ethernet.read::<u32, 0>(), ethernet.read::<u16, 4>());
    let (source4, source2) = (ethernet.read::<u32, 6>(), ethernet.read::<u16, 10>());
    ethernet.write::<u32, 0>(source4);
    ethernet.write::<u16, 4>(source2);
    ethernet.write::<u32, 6>(destination4);
    ethernet.write::<u16, 10>(destination2);
    let udp_len = scratch.selection.message_len as u16 + 8;
    let dns = scratch.frame.dns as usize;
    if scratch.frame.v6 != 0 {
        write_v6(packet, dns, udp_len)
    } else {
        write_v4(packet, dns, udp_len)
    }
}

/// IPv4 and UDP headers. The UDP checksum is 0, "not computed" (RFC 768).
#[inline(always)]
fn write_v4(packet: Packet, dns: usize, udp_len: u16) -> Option<()> {
    const UDP: usize = 20;
    // Counted back from the message: before it may be a tag.
    let header = packet.window::<{ UDP + 8 }>(dns.wrapping_sub(UDP + 8))?;
    let source = header.read::<u32, 12>();
    let destination = header.read::<u32, 16>();
    header.write::<u16, 2>((udp_len + 20).to_be());
    header.write::<u8, 8>(TTL);
    header.write::<u16, 10>(0);
    header.write::<u32, 12>(destination);
    header.write::<u32, 16>(source);
    let sum = Sum::default()
        .add64(header.read::<u64, 0>())
        .add64(header.read::<u64, 8>())
        .add32(header.read::<u32, 16>());
    header.write::<u16, 10>(sum.finish());
    header.write::<u32, UDP>(header.read::<u32, UDP>().rotate_left(16));
    header.write::<u32, { UDP + 4 }>(u32::from(udp_len.to_be()));
    Some(())
}

/// IPv6 and UDP headers, with the full UDP checksum, which IPv6 demands (RFC 8200 section 8.1). A
/// query that came from a local socket holds only a partial sum, so the old one cannot be updated.
#[inline(always)]
fn write_v6(packet: Packet, dns: usize, udp_len: u16) -> Option<()> {
    const UDP: usize = 40;
    let header = packet.window::<{ UDP + 8 }>(dns.wrapping_sub(UDP + 8))?;
    let source = (header.read::<u64, 8>(), header.read::<u64, 16>());
    let destination = (header.read::<u64, 24>(), header.read::<u64, 32>());
    header.write::<u16, 4>(udp_len.to_be());
    header.write::<u8, 7>(TTL);
    header.write::<u64, 8>(destination.0);
    header.write::<u64, 16>(destination.1);
    header.write::<u64, 24>(source.0);
    header.write::<u64, 32>(source.1);
    header.write::<u32, UDP>(header.read::<u32, UDP>().rotate_left(16));
    header.write::<u32, { UDP + 4 }>(u32::from(udp_len.to_be()));
    let udp = dns.wrapping_sub(8);
    let pseudo_header = checksum::pseudo_header(packet, true, udp)?;
    let sum = checksum::add_range(pseudo_header, packet, udp, udp + udp_len as usize)?.finish();
    // A computed 0 is sent as all ones.
    header.write::<u16, { UDP + 6 }>(if sum == 0 { 0xffff } else { sum });
    Some(())
}
