//! A question name as eight-byte words: folded to lower case, hashed, zero-padded.
//!
//! Length bytes of labels are at most 63 (`?`), below `A` (65): a name in wire form can be folded
//! eight bytes at a time without knowing where its labels begin. It ends at its first zero byte,
//! the root label. A label that contains a zero byte is cut short by that rule; such a
//! name is none of ours, what follows the cut is not a question, and the packet passes.

use crate::{layout::Scratch, limits::NAME_WORDS_MAX, packet::Packet, reason::Reason};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Lower-cases the ASCII letters among eight bytes; bytes ≥ 0x80 stay as they are (RFC 4343).
#[inline(always)]
pub const fn fold(word: u64) -> u64 {
    let low7 = word & !HIGH;
    let from_a = low7 + (0x80 - b'A' as u64) * ONES;
    let past_z = low7 + (0x7f - b'Z' as u64) * ONES;
    let upper = from_a & !past_z & !word & HIGH;
    word | upper >> 2
}

/// Whether folding may change anything: there is a byte with bit 6 and without bit 5, as upper-case letters are.
#[inline(always)]
const fn may_fold(word: u64) -> bool {
    const BIT6: u64 = 0x40 * ONES;
    word & !(word << 1) & BIT6 != 0
}

/// Bit 7 of the first zero byte, or 0 if there is none.
#[inline(always)]
const fn first_zero(word: u64) -> u64 {
    // Bits above the first true one may be false (a borrow); the lowest is exact.
    let zeros = word.wrapping_sub(ONES) & !word & HIGH;
    zeros & zeros.wrapping_neg()
}

/// The name hash: two lanes that take turns, so that one multiplication does not wait for the last.
///
/// Not a defence of itself: a collision costs a pass to the socket, never a wrong answer,
/// since the full name is compared. The seed is random so that nobody can aim for one.
#[derive(Clone, Copy)]
pub struct Hasher(u64, u64);

impl Hasher {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Starts with the seed.
    #[inline(always)]
    pub const fn new(seed: u64) -> Self {
        Hasher(seed, seed ^ Self::MULTIPLIER)
    }

    #[inline(always)]
    const fn mix(lane: u64, word: u64) -> u64 {
        let x = (lane ^ word).wrapping_mul(Self::MULTIPLIER);
        x ^ x >> 32
    }

    /// Adds a folded word.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, word: u64) -> Self {
        Hasher(self.1, Self::mix(self.0, word))
    }

    /// The hash of the words so far.
    #[inline(always)]
    pub const fn finish(self) -> u64 {
        Self::mix(Self::mix(self.0, 0), self.1)
    }
}

/// Reads the name at `offset` into `scratch`. Whether it ends within its message is for the caller to judge: what is
/// read here is bounded by the packet alone.
///
/// # Errors
/// [`Reason::Name`] if it does not end within 256 bytes.
#[inline(always)]
pub fn read(packet: Packet, offset: usize, seed: u64, scratch: &mut Scratch) -> Result<(), Reason> {
    let mut hasher = Hasher::new(seed);
    let name = packet.skip(offset).ok_or(Reason::Name)?;
    let mut index = 0;
    let word = loop {
        if index == NAME_WORDS_MAX {
            return Err(Reason::Name);
        }
        let Some(word) = name.word(index) else {
            // The last short word is read from the eight bytes that end with the packet. The shift
            // brings zeros in, so it ends the name; if it truly did not, no type follows it.
            let rest = name.len().wrapping_sub(index * 8) & 7;
            let last = packet.read::<u64>(packet.len() - 8).ok_or(Reason::Name)?;
            break if rest == 0 {
                0
            } else {
                last >> (64 - 8 * rest)
            };
        };
        if first_zero(word) != 0 {
            break word;
        }
        // Names are asked in lower case, nearly always.
        let folded = if may_fold(word) { fold(word) } else { word };
        scratch.name[index] = folded;
        hasher = hasher.add(folded);
        index += 1;
    };
    // Everything from the root label on is not part of the name.
    let before = (first_zero(word) >> 7) - 1;
    let folded = fold(word & before);
    scratch.name[index] = folded;
    // 0x00ff_ffff for three bytes: their ones add up to the number of bytes.
    let bytes = (before & ONES).wrapping_mul(ONES) >> 56;
    scratch.query.hash = hasher.add(folded).finish();
    scratch.query.name_len = (index * 8) as u32 + bytes as u32 + 1;
    scratch.query.name_words = index as u32 + 1;
    Ok(())
}

/// The hash of a folded name in wire form, as [`read`] computes it, and its words.
///
/// Returns the number of words; `words` must be zero beyond them.
pub fn words_of(folded: &[u8], words: &mut [u64; NAME_WORDS_MAX]) -> usize {
    *words = [0; NAME_WORDS_MAX];
    for (word, chunk) in words.iter_mut().zip(folded.chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(bytes);
    }
    folded.len().div_ceil(8)
}

/// The hash of a name given by its words.
pub fn hash_of(words: &[u64], seed: u64) -> u64 {
    words
        .iter()
        .fold(Hasher::new(seed), |hasher, word| hasher.add(*word))
        .finish()
}

/// The hash of a folded name in wire form.
pub fn hash_of_wire(folded: &[u8], seed: u64) -> u64 {
    let mut hasher = Hasher::new(seed);
    let mut words = folded.chunks_exact(8);
    for word in &mut words {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        hasher = hasher.add(u64::from_le_bytes(bytes));
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let mut bytes = [0; 8];
        bytes[..rest.len()].copy_from_slice(rest);
        hasher = hasher.add(u64::from_le_bytes(bytes));
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_folded_and_no_other_byte_is() {
        for byte in 0..=255u8 {
            for at in 0..8 {
                // Its neighbours must not matter, nor be changed.
                for around in [0, b'a', b'[', 0x7f, 0x80, 0xff] {
                    let mut word = [around; 8];
                    word[at] = byte;
                    let mut folded = word;
                    folded[at] = byte.to_ascii_lowercase();
                    let word = u64::from_le_bytes(word);
                    assert_eq!(fold(word).to_le_bytes(), folded);
                    assert!(may_fold(word) || fold(word) == word);
                }
            }
        }
    }

    #[test]
    fn a_name_and_its_words_have_one_hash() {
        let name = b"\x07service\x09namespace\x03svc\x07cluster\x05local\0";
        for start in 0..name.len() {
            let mut words = [0; NAME_WORDS_MAX];
            let count = words_of(&name[start..], &mut words);
            assert_eq!(hash_of_wire(&name[start..], 7), hash_of(&words[..count], 7));
        }
    }

    #[test]
    fn the_first_zero_is_found_whatever_follows() {
        for at in 0..8 {
            for after in [0, 1, 0x80, 0xff] {
                let mut word = [after; 8];
                word[..at].fill(1);
                word[at] = 0;
                assert_eq!(first_zero(u64::from_le_bytes(word)), 0x80 << (8 * at));
            }
            let mut word = [1; 8];
            word[at] = 0x80;
            assert_eq!(first_zero(u64::from_le_bytes(word)), 0);
        }
    }
}
