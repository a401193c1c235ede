//! Writes the answer over the query, in place.
//!
//! ```text
//! Ethernet: addresses swapped │ IP: addresses swapped, length, TTL 64 │ UDP: ports swapped, length, checksum
//! DNS header: ID kept; QR, AA; RD, CD copied; RA if the deployment forwards │ question as asked
//! answer: records as stored │ addresses: c0 0c (a pointer to the question) type IN TTL rdata │ … │ OPT, if there was one
//! ```
//!
//! Most answers have either stored records or addresses. That of an alias has both: its CNAME, as stored, and the
//! addresses of the target, whose owner is a pointer to the target's name in the CNAME's data. If the target has none of
//! the family, the CNAME comes before the SOA ([`crate::negative`]).
//!
//! # Rotation
//!
//! Many clients take the first address. So where the configuration has it (`loadbalance`), the addresses begin
//! with another one in each answer, a random one, and go round from there. (`CoreDNS` shuffles them; where a
//! client goes is as evenly spread by either.) A counter would not do: clients ask for A and AAAA in turns, and
//! would see every other address only. The random numbers are those of a linear congruential generator, of which
//! each CPU has its own: nobody gains anything by guessing them. Four addresses, tc, one run of each beside other
//! work (medians): 190 ns with it, 218 ns with `bpf_get_prandom_u32`, 176 ns unrotated. One address costs nothing.
//!
//! Everything that can fail is done before the first byte is changed: an answer that does not fit, or a
//! packet that cannot be grown, leaves the query as it was.

use crate::{
    checksum::{self, Sum},
    frame::L3,
    layout::{
        CONTROL_RECURSION_AVAILABLE, CONTROL_ROTATE, Control, FLAG_A_TOO_LARGE,
        FLAG_AAAA_TOO_LARGE, FLAG_ALIAS, FLAG_OTHER_ELSEWHERE, FLAG_SOCKET_ONLY,
        FLAG_SRV_ELSEWHERE, Scratch, Selection,
    },
    limits::{
        A_MAX, A_RECORD_BYTES, AAAA_MAX, AAAA_RECORD_BYTES, ALIAS_WORDS_MAX, ANSWER_BYTES_MAX,
        HEADER_BYTES, OPT_BYTES, OTHER_BYTES_MAX, OWNER_TO_DATA_BYTES,
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
/// Type and class IN: bytes 2 to 5 of a record whose owner is a pointer.
const A_IN: u64 = 0x0100_0100_0000;
const AAAA_IN: u64 = 0x0100_1c00_0000;
/// Knuth's generator (MMIX): its upper half is good enough to choose by.
const RANDOM_MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const RANDOM_INCREMENT: u64 = 1_442_695_040_888_963_407;

/// What the record has for the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Records, in [`Scratch::selection`].
    Records,
    /// No records of this type, nor has the target of an alias: NODATA.
    Nothing,
}

/// Chooses the records for the question from the verified record, into [`Scratch::selection`].
///
/// # Errors
/// Why the kernel does not answer this type.
#[inline(always)]
pub fn select(control: &Control, scratch: &mut Scratch) -> Result<Found, Reason> {
    let header = Header::of(scratch);
    let flags = header.flags();
    if flags & FLAG_SOCKET_ONLY != 0 {
        return Err(Reason::SocketOnly);
    }
    let (count, address_word, record_bytes, too_large) = match scratch.query.qtype {
        TYPE_A => (
            header.a_count(),
            header.a_word(),
            A_RECORD_BYTES,
            FLAG_A_TOO_LARGE,
        ),
        TYPE_AAAA => (
            header.aaaa_count(),
            header.aaaa_word(),
            AAAA_RECORD_BYTES,
            FLAG_AAAA_TOO_LARGE,
        ),
        _ => return select_other(header, scratch),
    };
    let truncated = u8::from(flags & too_large != 0);
    if count == 0 && truncated == 0 {
        return Ok(Found::Nothing);
    }
    let first = if count > 1 && control.flags & CONTROL_ROTATE != 0 {
        ((random(scratch) * count as u64) >> 32) as u32
    } else {
        0
    };
    let question_end = scratch.query.question_end() as u32;
    let mut selection = Selection {
        address_word: address_word as u32,
        address_offset: question_end,
        addresses: count as u32,
        first,
        records_len: (count * record_bytes) as u32,
        answers: count as u16,
        truncated,
        ..Selection::NONE
    };
    if flags & FLAG_ALIAS != 0 {
        selection.other_word = header.other_word() as u32 + 1;
        selection.other_len = header.other_len() as u32;
        selection.address_offset += selection.other_len;
        selection.records_len += selection.other_len;
        selection.answers += 1;
        selection.owner = question_end + OWNER_TO_DATA_BYTES as u32;
    }
    scratch.selection = selection;
    Ok(Found::Records)
}

/// The same for the type that is stored as it goes on the wire.
#[inline(always)]
fn select_other(header: Header, scratch: &mut Scratch) -> Result<Found, Reason> {
    let qtype = scratch.query.qtype;
    let word = header.other_word();
    let other = record_word(scratch, word);
    if header.other_len() == 0 || other as u16 != qtype {
        let elsewhere = if qtype == TYPE_SRV {
            FLAG_OTHER_ELSEWHERE | FLAG_SRV_ELSEWHERE | FLAG_ALIAS
        } else {
            FLAG_OTHER_ELSEWHERE | FLAG_ALIAS
        };
        return if header.flags() & elsewhere != 0 {
            Err(Reason::SocketOnly)
        } else {
            Ok(Found::Nothing)
        };
    }
    let len = header.other_len() as u32;
    let selection = &mut scratch.selection;
    selection.set_encoded(word as u32 + 1, len, len, HEADER_BYTES as u32);
    selection.answers = (other >> 16) as u16;
    selection.additionals = (other >> 32) as u16;
    Ok(Found::Records)
}

/// 32 random bits.
#[inline(always)]
fn random(scratch: &mut Scratch) -> u64 {
    scratch.random = scratch
        .random
        .wrapping_mul(RANDOM_MULTIPLIER)
        .wrapping_add(RANDOM_INCREMENT);
    scratch.random >> 32
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

    if selection.truncated == 0 {
        write_records(packet, dns, scratch)?;
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
fn write_records(packet: Packet, dns: usize, scratch: &Scratch) -> Option<()> {
    let Scratch {
        query, selection, ..
    } = scratch;
    if selection.other_len != 0 {
        let mut at = dns + query.question_end();
        if selection.authority != 0 {
            // Here, where no answer with addresses comes by: it costs those nothing.
            if selection.alias_len != 0 {
                at += write_alias(packet, at, scratch)?;
            }
            packet.write(at, owner(selection))?;
            at += size_of::<u16>();
        }
        write_other(packet, at, scratch)?;
    }
    // Their place was noted before, since the verifier must not know by which way we come here.
    let at = dns + selection.address_offset as usize;
    match query.qtype {
        _ if selection.addresses == 0 => Some(()),
        TYPE_A => write_a(packet, at, scratch),
        _ => write_aaaa(packet, at, scratch),
    }
}

/// The pointer to the owner, in network order.
#[inline(always)]
fn owner(selection: &Selection) -> u16 {
    (POINTER | selection.owner as u16).to_be()
}

/// Which of the addresses comes as number `index`.
#[inline(always)]
fn rotated(selection: &Selection, index: usize) -> usize {
    let place = selection.first as usize + index;
    let count = selection.addresses as usize;
    if place < count { place } else { place - count }
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
    let (first, second) = (
        u64::from(owner(selection)) | A_IN | ttl << 48,
        ttl >> 16 | 0x0400_0000,
    );
    if selection.addresses == 1 {
        let pair = record_word(scratch, selection.address_word as usize);
        let record = packet.window::<A_RECORD_BYTES>(at)?;
        record.write::<u64, 0>(first);
        record.write::<u64, 8>(second | pair << 32);
        return Some(());
    }
    let mut offset = at;
    for index in 0..A_MAX {
        if index >= selection.addresses as usize {
            break;
        }
        let place = rotated(selection, index);
        let pair = record_word(scratch, selection.address_word as usize + place / 2);
        // The half that it is in, without a branch that nobody could predict.
        let address = (pair >> ((place & 1) * 32)) << 32;
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
        u64::from(owner(selection)) | AAAA_IN | ttl << 48,
        (ttl >> 16) as u32 | 0x1000_0000,
    );
    let mut offset = at;
    for index in 0..AAAA_MAX {
        if index >= selection.addresses as usize {
            break;
        }
        let word = selection.address_word as usize + 2 * rotated(selection, index);
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
fn write_other(packet: Packet, at: usize, scratch: &Scratch) -> Option<()> {
    let word = scratch.selection.other_word as usize;
    let bytes = scratch.selection.other_len as usize;
    let whole = bytes / 8;
    // Four words at a time: the checks of bounds take longer than the words.
    for index in 0..OTHER_BYTES_MAX / 32 {
        if index * 4 + 4 > whole {
            break;
        }
        let from = opaque(word + index * 4);
        let words = scratch.record.get(from..from + 4)?;
        let window = packet.window::<32>(at + index * 32)?;
        window.write::<u64, 0>(words[0]);
        window.write::<u64, 8>(words[1]);
        window.write::<u64, 16>(words[2]);
        window.write::<u64, 24>(words[3]);
    }
    let fours = whole & !3;
    for index in 0..3 {
        if fours + index >= whole {
            break;
        }
        packet.write(
            at + (fours + index) * 8,
            record_word(scratch, word + fours + index),
        )?;
    }
    // The last one to seven bytes, behind as many before them as make eight: no record is shorter.
    let rest = (bytes & 7) as u32 * 8;
    if rest != 0 {
        let before = record_word(scratch, (word + whole).wrapping_sub(1));
        let last = record_word(scratch, word + whole);
        packet.write(at + bytes - 8, last << (64 - rest) | before >> rest)?;
    }
    Some(())
}

/// The CNAME before a SOA; returns its length, bytes.
#[inline(always)]
fn write_alias(packet: Packet, at: usize, scratch: &Scratch) -> Option<usize> {
    let bytes = scratch.selection.alias_len as usize;
    for index in 0..ALIAS_WORDS_MAX {
        if index * 8 + 8 > bytes {
            break;
        }
        packet.write(at + index * 8, scratch.alias[index])?;
    }
    // The last one to seven bytes, as in `write_other`.
    let (whole, rest) = (bytes / 8, (bytes & 7) as u32 * 8);
    if rest != 0 {
        let word = |index: usize| scratch.alias.get(opaque(index)).copied().unwrap_or(0);
        let (before, last) = (word(whole.wrapping_sub(1)), word(whole));
        packet.write(at + bytes - 8, last << (64 - rest) | before >> rest)?;
    }
    Some(bytes)
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
    // Summed before it is written: to load at once what was stored in other pieces makes the processor wait.
    let version_and_len =
        header.read::<u32, 0>() & 0xffff | u32::from((udp_len + 20).to_be()) << 16;
    let ttl_and_protocol = u32::from(TTL) | checksum::UDP;
    let source = header.read::<u32, 12>();
    let destination = header.read::<u32, 16>();
    let sum = Sum::default()
        .add32(version_and_len)
        .add32(header.read::<u32, 4>())
        .add32(ttl_and_protocol)
        .add32(source)
        .add32(destination);
    header.write::<u32, 0>(version_and_len);
    header.write::<u32, 8>(ttl_and_protocol | u32::from(sum.finish()) << 16);
    header.write::<u32, 12>(destination);
    header.write::<u32, 16>(source);
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
