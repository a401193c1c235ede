//! The DNS message: header, question and OPT (RFC 1035 section 4, RFC 6891 section 6.1).
//!
//! ```text
//!  0     2     4       6       8       10      12
//! ├ ID ──┼flags┼QDCOUNT┼ANCOUNT┼NSCOUNT┼ARCOUNT┤ name │ type │ class │ [OPT: 0 │ 41 │ size │ 0 version flags │ rdlength │ options]
//!
//! flags, byte 2: QR 80 │ opcode 78 │ AA 04 │ TC 02 │ RD 01
//! flags, byte 3: RA 80 │ Z 40 │ AD 20 │ CD 10 │ RCODE 0f
//! ```

use crate::{
    layout::{Control, Query, Scratch},
    limits::{
        ANSWER_BYTES_MAX, ANSWER_BYTES_PLAIN, EDNS_OPTIONS_MAX, HEADER_BYTES, NAME_BYTES_MAX,
        OPT_BYTES, QUESTION_TAIL_BYTES,
    },
    name,
    packet::Packet,
    reason::Reason,
};

impl Query {
    /// Bytes up to the end of the question.
    #[inline(always)]
    pub fn question_end(&self) -> usize {
        HEADER_BYTES + self.name_len as usize + QUESTION_TAIL_BYTES
    }

    /// Largest answer, bytes.
    #[inline(always)]
    pub fn answer_bytes_max(&self) -> usize {
        if self.has_opt == 0 {
            return ANSWER_BYTES_PLAIN;
        }
        (self.edns_size as usize).clamp(ANSWER_BYTES_PLAIN, ANSWER_BYTES_MAX)
    }
}

const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
/// Bytes 4 to 11 with QDCOUNT 1 and the other counts zero.
const COUNTS_PLAIN: u64 = 0x0100;
/// The same with ARCOUNT 1.
const COUNTS_EDNS: u64 = 0x0100 | 1 << 56;
/// RFC 7873 section 4.
const OPTION_COOKIE: u16 = 10;
/// RFC 5001 section 2.1.
const OPTION_NSID: u16 = 3;

/// Parses and judges the message of [`Scratch::frame`] into [`Scratch::query`].
///
/// # Errors
/// Why the message is not one that the kernel answers.
#[inline(always)]
pub fn parse(packet: Packet, control: &Control, scratch: &mut Scratch) -> Result<(), Reason> {
    let dns = scratch.frame.dns as usize;
    let end = dns + scratch.frame.message_len as usize;
    if dns + HEADER_BYTES > end {
        return Err(Reason::Length);
    }
    let header = packet.window::<HEADER_BYTES>(dns).ok_or(Reason::Length)?;
    let (flags2, flags3) = (header.read::<u8, 2>(), header.read::<u8, 3>());
    if flags2 & 0x80 != 0 {
        return Err(Reason::Response);
    }
    if flags2 & 0x78 != 0 {
        return Err(Reason::Opcode);
    }
    if flags2 & 0x02 != 0 {
        return Err(Reason::TruncatedQuery);
    }
    let counts = header.read::<u64, 4>();
    if counts != COUNTS_PLAIN && counts != COUNTS_EDNS {
        return Err(Reason::Counts);
    }
    name::read(packet, dns + HEADER_BYTES, control.seed, scratch)?;
    let query = &mut scratch.query;
    let name_len = query.name_len as usize;
    if name_len > NAME_BYTES_MAX {
        return Err(Reason::Name);
    }
    let tail = dns + HEADER_BYTES + name_len;
    let after = tail + QUESTION_TAIL_BYTES;
    if after > end {
        return Err(Reason::Name);
    }
    query.flags2 = flags2;
    query.flags3 = flags3;
    let type_and_class = packet
        .window::<QUESTION_TAIL_BYTES>(tail)
        .ok_or(Reason::Name)?;
    query.qtype = u16::from_be(type_and_class.read::<u16, 0>());
    let class = u16::from_be(type_and_class.read::<u16, 2>());
    if class != CLASS_IN {
        return Err(Reason::Class);
    }
    if is_meta(query.qtype) {
        return Err(Reason::Type);
    }
    if counts == COUNTS_EDNS {
        query.has_opt = 1;
        return parse_opt(packet, after, end, query);
    }
    query.has_opt = 0;
    query.dnssec_ok = 0;
    if after == end {
        Ok(())
    } else {
        Err(Reason::Trailing)
    }
}

/// Types that no record has: 0, OPT, and the query types ANY, AXFR and their like (RFC 6895 section 3.1).
#[inline(always)]
const fn is_meta(qtype: u16) -> bool {
    qtype == 0 || qtype == TYPE_OPT || (qtype >= 128 && qtype <= 255)
}

#[inline(always)]
fn parse_opt(packet: Packet, opt: usize, end: usize, query: &mut Query) -> Result<(), Reason> {
    if opt + OPT_BYTES > end {
        return Err(Reason::Edns);
    }
    let record = packet.window::<OPT_BYTES>(opt).ok_or(Reason::Edns)?;
    let owner = record.read::<u8, 0>();
    let rtype = u16::from_be(record.read::<u16, 1>());
    query.edns_size = u16::from_be(record.read::<u16, 3>());
    let version = record.read::<u8, 6>();
    query.dnssec_ok = record.read::<u8, 7>() >> 7;
    let rdlength = u16::from_be(record.read::<u16, 9>()) as usize;
    if owner != 0 || rtype != TYPE_OPT || version != 0 {
        return Err(Reason::Edns);
    }
    let options = opt + OPT_BYTES;
    if options + rdlength != end {
        return Err(Reason::Trailing);
    }
    if rdlength == 0 {
        Ok(())
    } else {
        check_options(packet, options, end)
    }
}

/// Options are ignored, but must be well-formed: the socket says FORMERR to a cut option, and to a
/// cookie of a wrong length (RFC 7873 section 5.2.2). And who asks which server it is (NSID) has to be told if the
/// configuration says so. Whether it does, nobody asks here: so few ask for it that they may always pass.
#[inline(always)]
fn check_options(packet: Packet, options: usize, end: usize) -> Result<(), Reason> {
    let mut option = options;
    for _ in 0..EDNS_OPTIONS_MAX {
        if option == end {
            return Ok(());
        }
        if option + 4 > end {
            return Err(Reason::Edns);
        }
        let header = packet.window::<4>(option).ok_or(Reason::Edns)?;
        let code = u16::from_be(header.read::<u16, 0>());
        let length = u16::from_be(header.read::<u16, 2>()) as usize;
        if code == OPTION_NSID {
            return Err(Reason::Edns);
        }
        if code == OPTION_COOKIE && length != 8 && !(16..=40).contains(&length) {
            return Err(Reason::Edns);
        }
        option += 4 + length;
        if option > end {
            return Err(Reason::Edns);
        }
    }
    if option == end {
        Ok(())
    } else {
        Err(Reason::Edns)
    }
}
