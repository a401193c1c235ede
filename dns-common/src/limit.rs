//! How many answers a network may be sent, so that a flood of queries with false source addresses does not
//! make us an amplifier (response-rate limiting, RRL).
//!
//! # Where
//!
//! On cards, with XDP, unless the device is trusted ([`crate::layout::MAC_LIMITED`]). A pod's veth is not
//! limited: the CNI knows which address is behind it.
//!
//! # Who
//!
//! An IPv4 /24 or an IPv6 /56: as in BIND's RRL and Knot's `mod-rrl`, since a victim is a network as often as a host, and
//! a liar has all of its addresses.
//!
//! # What counts
//!
//! An answer that denies, and one of more than twice the query's length. BIND, Knot and NSD count every
//! answer, each kind for itself; they serve zones whose answers are large. Most of what a cluster asks
//! for is one address: 16 or 28 bytes on top of a query of 30 to 60, and as much again of headers. What is
//! not counted is, headers included, less than twice what the liar had to send, who might as well have
//! sent it to the victim. Denials are two to three times the query, and random names make them without end:
//! they count whatever their size.
//!
//! # What happens to one too many
//!
//! It becomes TC=1 without records, as large as the query, or smaller: what RRL calls "slip", 1 in
//! Knot's terms. No packet is lost: who really asked comes back over TCP, which nobody can do with a false
//! address. To pass it to the socket would only let the socket amplify. The RCODE stays: it is true. (musl
//! before 1.2.4 knows no TCP, and takes the answer as it is: to such a client a large answer is empty.)
//!
//! # The bucket
//!
//! One word for each network, in a hash of [`crate::limits::NETWORKS_MAX`] of them that forgets the one that has
//! asked least recently (`BPF_MAP_TYPE_LRU_HASH`). It is the only map that a packet writes. What a
//! forgotten network gets is a full bucket.
//!
//! ```text
//! │ tick of the last answer, its lower 32 bits │ level │
//! ```
//!
//! The level gains [`Control::limit_rate`] with each tick up to a second's worth, and an answer takes
//! [`Control::limit_cost`], the ticks of a second: whole numbers, whatever the kernel's rate of ticks. Two CPUs
//! that answer one network at once may store over each other, and one answer is not counted; a word is never
//! torn. An answer over the limit stores nothing: a flood only reads.

use crate::{
    answer,
    layout::{Control, Frame, LIMIT_EXCEEDED, Scratch},
    packet::Packet,
    reason::Reason,
    word::{AtomicU64, load, store},
};

/// An answer of more than so many times the query's length counts.
const FREE_FACTOR: u32 = 2;
/// Another CPU's tick may be a little ahead of ours: so far back is no time at all.
const AHEAD_MAX: u32 = 1024;
/// The first 24 bits of an IPv4 address, and the first 56 of an IPv6 address, as they stand in the packet.
const MASK_V4: u32 = 0x00ff_ffff;
const MASK_V6: u64 = 0x00ff_ffff_ffff_ffff;
/// The byte that the masks leave free tells the families apart.
const FAMILY_SHIFT: u32 = 56;

/// The buckets: a map, or memory of the host in tests.
pub trait Buckets {
    /// A network's bucket.
    fn of(&self, network: u64) -> Option<&AtomicU64>;
    /// Makes a network's bucket. False if there is none to be had.
    fn add(&self, network: u64, bucket: u64) -> bool;
}

/// Cuts the measured answer down to TC=1 if it is over the limit of the network that it goes to.
///
/// # Errors
/// [`Reason::Internal`], if there is no source address where there was one.
#[inline(always)]
pub fn apply<B: Buckets>(
    buckets: &B,
    control: &Control,
    packet: Packet,
    now: u64,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    if !counts(scratch) {
        return Ok(());
    }
    let network = network_of(packet, &scratch.frame).ok_or(Reason::Internal)?;
    if !take(buckets, control, network, now as u32) {
        scratch.frame.limit = LIMIT_EXCEEDED;
        scratch.selection.truncated = 1;
        answer::measure(scratch);
    }
    Ok(())
}

/// Whether the measured answer is one that is counted.
#[inline(always)]
fn counts(scratch: &Scratch) -> bool {
    let Scratch {
        frame, selection, ..
    } = scratch;
    selection.authority != 0 || selection.message_len > FREE_FACTOR * frame.message_len
}

/// The network that the query came from, as a key.
#[inline(always)]
fn network_of(packet: Packet, frame: &Frame) -> Option<u64> {
    // The addresses are the last of the network header; UDP's is between them and the message.
    let udp = (frame.dns as usize).wrapping_sub(8);
    Some(if frame.v6 == 0 {
        let source = packet.read::<u32>(udp.wrapping_sub(8))?;
        u64::from(source & MASK_V4) | 4 << FAMILY_SHIFT
    } else {
        let source = packet.read::<u64>(udp.wrapping_sub(32))?;
        source & MASK_V6 | 6 << FAMILY_SHIFT
    })
}

/// Takes an answer from the network's bucket; false if there is not enough in it.
#[inline(always)]
fn take<B: Buckets>(buckets: &B, control: &Control, network: u64, now: u32) -> bool {
    let (rate, cost) = (u64::from(control.limit_rate), u64::from(control.limit_cost));
    let full = rate * cost;
    let Some(bucket) = buckets.of(network) else {
        return buckets.add(network, pack(full.saturating_sub(cost), now));
    };
    let word = load(bucket);
    let mut elapsed = now.wrapping_sub((word >> 32) as u32);
    if elapsed > u32::MAX - AHEAD_MAX {
        elapsed = 0;
    }
    let level = u64::from(word as u32) + u64::from(elapsed) * rate;
    let level = if level > full { full } else { level };
    if level < cost {
        return false;
    }
    store(bucket, pack(level - cost, now));
    true
}

#[inline(always)]
fn pack(level: u64, tick: u32) -> u64 {
    u64::from(tick) << 32 | level & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::cell::Cell;
    use std::vec::Vec;

    use super::*;

    /// Room for one network.
    #[derive(Default)]
    struct One {
        network: Cell<u64>,
        bucket: AtomicU64,
    }

    impl Buckets for One {
        fn of(&self, network: u64) -> Option<&AtomicU64> {
            (self.network.get() == network).then_some(&self.bucket)
        }

        fn add(&self, network: u64, bucket: u64) -> bool {
            self.network.set(network);
            store(&self.bucket, bucket);
            true
        }
    }

    /// 20 answers a second of 250 ticks.
    fn control() -> Control {
        let mut control = Control::zeroed();
        (control.limit_rate, control.limit_cost) = (20, 250);
        control
    }

    /// Answers that are let through of `asked` at each tick.
    fn allowed(buckets: &One, ticks: impl Iterator<Item = u32>, asked: usize) -> usize {
        let control = control();
        let asked: Vec<u32> = ticks.flat_map(|tick| std::vec![tick; asked]).collect();
        asked
            .iter()
            .filter(|tick| take(buckets, &control, 7, **tick))
            .count()
    }

    #[test]
    fn a_second_s_worth_at_once_and_the_rate_from_then_on() {
        // Also where the lower half of the tick begins again.
        for start in [0, 1 << 31, u32::MAX - 5, u32::MAX - 600] {
            let one = One::default();
            let ticks = |from: u32, to: u32| (from..to).map(move |tick| start.wrapping_add(tick));
            assert_eq!(allowed(&one, ticks(0, 1), 1000), 20, "{start}");
            assert_eq!(allowed(&one, ticks(1, 251), 100), 20, "{start}");
            assert_eq!(allowed(&one, ticks(251, 1251), 3), 80, "{start}");
            // What nobody asks for is saved up to a second's worth.
            assert_eq!(allowed(&one, ticks(100_000, 100_001), 1000), 20, "{start}");
        }
    }

    #[test]
    fn below_the_rate_nothing_is_limited() {
        let one = One::default();
        let ticks = (0..250 * 60).step_by(13);
        assert_eq!(allowed(&one, ticks.clone(), 1), ticks.count());
    }

    #[test]
    fn another_cpu_s_tick_ahead_fills_nothing() {
        let one = One::default();
        assert_eq!(allowed(&one, 1000..1001, 1000), 20);
        assert_eq!(allowed(&one, 998..1000, 1000), 0);
        assert_eq!(allowed(&one, 1000..1001, 1000), 0);
    }

    #[test]
    fn a_bucket_that_cannot_be_made_is_empty() {
        struct Full;
        impl Buckets for Full {
            fn of(&self, _network: u64) -> Option<&AtomicU64> {
                None
            }
            fn add(&self, _network: u64, _bucket: u64) -> bool {
                false
            }
        }
        assert!(!take(&Full, &control(), 7, 0));
    }

    #[test]
    fn the_largest_level_fits_its_field() {
        let (mut control, one) = (control(), One::default());
        (control.limit_rate, control.limit_cost) = (1_000_000, 1000);
        for count in 0..2_000_000 {
            assert_eq!(take(&one, &control, 7, 5), count < 1_000_000);
        }
    }
}
