//! The Internet checksum (RFC 1071) over packet words.

use crate::packet::Packet;

/// IP protocol number of UDP, where it stands in a pseudo-header, and beside the TTL of IPv4.
pub(crate) const UDP: u32 = 17 << 8;

/// A running one's-complement sum. Words are summed as the machine holds them: the sum of
/// byte-swapped words is the byte-swapped sum, so the result is stored as it is.
#[derive(Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds eight bytes.
    #[inline(always)]
    #[must_use]
    pub const fn add64(self, word: u64) -> Self {
        Sum(self.0 + (word & 0xffff_ffff) + (word >> 32))
    }

    /// Adds four bytes, or two.
    #[inline(always)]
    #[must_use]
    pub const fn add32(self, word: u32) -> Self {
        Sum(self.0 + word as u64)
    }

    /// The checksum, as it is stored in the packet.
    #[inline(always)]
    pub const fn finish(self) -> u16 {
        // Below 2^42, since nobody adds a thousand words: then below 2^27, 2^16 + 2^11, and 2^16.
        let sum = (self.0 & 0xffff) + (self.0 >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }
}

/// The sum over the pseudo-header of a UDP datagram over IPv4 (RFC 768) or IPv6 (RFC 8200 section 8.1), whose
/// UDP header is at `udp`. The addresses stand right before it.
#[inline(always)]
pub fn pseudo_header(packet: Packet, v6: bool, udp: usize) -> Option<Sum> {
    let length = packet.read::<u16>(udp + 4)?;
    let sum = Sum::default().add32(u32::from(length)).add32(UDP);
    Some(if v6 {
        let addresses = packet.window::<32>(udp.wrapping_sub(32))?;
        sum.add64(addresses.read::<u64, 0>())
            .add64(addresses.read::<u64, 8>())
            .add64(addresses.read::<u64, 16>())
            .add64(addresses.read::<u64, 24>())
    } else {
        sum.add64(packet.read(udp.wrapping_sub(8))?)
    })
}

/// Adds the bytes from `offset` to `end`; at most `words_max` words of eight bytes, and at least eight bytes before `end`.
#[inline(always)]
pub fn add_range(sum: Sum, packet: Packet, offset: usize, end: usize) -> Option<Sum> {
    /// Words of the longest UDP datagram that we send.
    const WORDS_MAX: usize = (crate::limits::ANSWER_BYTES_MAX + 8).div_ceil(8);
    let mut sum = sum;
    let mut offset = offset;
    for _ in 0..WORDS_MAX {
        if offset + 8 > end {
            break;
        }
        sum = sum.add64(packet.read::<u64>(offset)?);
        offset += 8;
    }
    if offset < end {
        let rest = end - offset;
        let word = packet.read::<u64>(end - 8)? >> (((8 - rest) * 8) & 63);
        sum = sum.add64(word);
    }
    Some(sum)
}
