//! Where a packet is counted: one place among the counters of its CPU, so that counting is one increment.
//!
//! ```text
//! a packet that passes    its reason
//! an answer               reasons + ((zone × types + type) × outcomes + outcome) × 8 + IPv6 × 4 + DO × 2 + NXDOMAIN
//! ```
//!
//! An answer's place says all that `CoreDNS`'s counters of queries and of replies tell apart, so that what the
//! kernel answers can be added to them. There is no place for durations and sizes: a clock costs as much as a lookup, and
//! each histogram would be one more increment.

use crate::{
    layout::{CONTROL_TC_OFF, CONTROL_XDP_OFF, Scratch},
    limits::{ZONES_MAX, ZONES_OURS_MAX},
    reason::Reason,
    record::Header,
};

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// tc
    Tc,
    /// XDP
    Xdp,
}

impl Hook {
    /// The bit of [`crate::layout::Control::flags`] that switches it off.
    pub const fn off(self) -> u32 {
        match self {
            Hook::Tc => CONTROL_TC_OFF,
            Hook::Xdp => CONTROL_XDP_OFF,
        }
    }
}

/// Types that are told apart: those that metrics name, and that the kernel may answer, be it that a name has none. The most
/// frequent ones come first.
const TYPES: [u16; 16] = [1, 28, 12, 33, 16, 65, 5, 64, 15, 2, 6, 43, 48, 46, 47, 50];
/// The others are one.
const TYPES_TOLD: usize = TYPES.len() + 1;
/// Answered at tc; at XDP; limited at XDP, the only hook that limits.
const OUTCOMES: usize = 3;
/// Our zones, and what is in none of them: reverse zones for which the list has no place.
const ZONES_TOLD: usize = ZONES_OURS_MAX + 1;
/// The place in the list before the first that one of our zones can have.
const BEFORE_OURS: u32 = (ZONES_MAX - ZONES_OURS_MAX - 1) as u32;
/// Family, DO and RCODE.
const BITS: usize = 8;

/// Counters of a CPU.
pub const PLACES: usize = Reason::COUNT + ZONES_TOLD * TYPES_TOLD * OUTCOMES * BITS;

const _: () = {
    assert!(ZONES_OURS_MAX < ZONES_MAX);
    assert!(
        PLACES * size_of::<u64>() <= 32 * 1024,
        "the kernel's limit for a per-CPU element"
    );
};

/// The counters of a CPU: the element of the map COUNTERS.
pub type Counters = [u64; PLACES];

/// Where a packet is counted of which [`crate::respond::respond`] said this, with the working memory as that left it.
#[inline(always)]
pub fn place(hook: Hook, reason: Reason, scratch: &Scratch) -> usize {
    if !reason.is_answer() {
        return reason as usize;
    }
    let outcome = match (hook, reason) {
        (Hook::Tc, _) => 0,
        (Hook::Xdp, Reason::Limited) => 2,
        (Hook::Xdp, _) => 1,
    };
    let Scratch {
        query, selection, ..
    } = scratch;
    place_of(
        Header::of(scratch).zone(),
        query.qtype,
        outcome,
        scratch.frame.v6 as usize,
        query.dnssec_ok as usize,
        selection.rcode,
    )
}

#[inline(always)]
const fn place_of(
    zone: u8,
    qtype: u16,
    outcome: usize,
    v6: usize,
    dnssec_ok: usize,
    rcode: u8,
) -> usize {
    let zone = (zone as u32).wrapping_sub(BEFORE_OURS);
    let zone = if zone as usize >= ZONES_TOLD {
        0
    } else {
        zone as usize
    };
    let mut rtype = 0;
    while rtype < TYPES.len() && TYPES[rtype] != qtype {
        rtype += 1;
    }
    // NOERROR is 0, NXDOMAIN 3.
    let bits = v6 << 2 | dnssec_ok << 1 | (rcode >> 1) as usize;
    Reason::COUNT + ((zone * TYPES_TOLD + rtype) * OUTCOMES + outcome) * BITS + bits
}

/// What is counted at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What became of the packets.
    pub reason: Reason,
    /// What they were, if they were answered.
    pub answer: Option<Answer>,
}

/// Answers that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// By which program.
    pub hook: Hook,
    /// Place of the zone in [`crate::layout::Control::zones`]; `None` if it has none there.
    pub zone: Option<usize>,
    /// The type that was asked for; `None` if it is one that metrics do not name.
    pub qtype: Option<u16>,
    /// Over IPv6.
    pub v6: bool,
    /// The query had DO.
    pub dnssec_ok: bool,
    /// NXDOMAIN, and not NOERROR.
    pub nxdomain: bool,
}

impl Counted {
    /// What is counted at a place; `None` beyond [`PLACES`].
    pub fn at(place: usize) -> Option<Self> {
        let Some(place) = place.checked_sub(Reason::COUNT) else {
            // An answer's reason alone is no place.
            let reason = *Reason::ALL.get(place)?;
            return Some(Counted {
                reason,
                answer: None,
            });
        };
        let (place, bits) = (place / BITS, place % BITS);
        let (place, outcome) = (place / OUTCOMES, place % OUTCOMES);
        let (zone, rtype) = (place / TYPES_TOLD, place % TYPES_TOLD);
        if zone >= ZONES_TOLD {
            return None;
        }
        let answer = Answer {
            hook: if outcome == 0 { Hook::Tc } else { Hook::Xdp },
            zone: (zone != 0).then_some(zone + BEFORE_OURS as usize),
            qtype: TYPES.get(rtype).copied(),
            v6: bits & 4 != 0,
            dnssec_ok: bits & 2 != 0,
            nxdomain: bits & 1 != 0,
        };
        let reason = if outcome == 2 {
            Reason::Limited
        } else {
            Reason::Answered
        };
        Some(Counted {
            reason,
            answer: Some(answer),
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    fn scratch(zone: usize, qtype: u16, v6: bool, dnssec_ok: bool, nxdomain: bool) -> Scratch {
        let mut scratch = Scratch::new();
        scratch.record[1] = (zone as u64) << 8 | 0xffff_ffff_ffff_00ff;
        scratch.query.qtype = qtype;
        scratch.frame.v6 = v6.into();
        scratch.query.dnssec_ok = dnssec_ok.into();
        scratch.selection.rcode = if nxdomain { 3 } else { 0 };
        scratch
    }

    #[test]
    fn every_answer_has_a_place_of_its_own_that_says_what_it_was() {
        let mut taken = vec![false; PLACES];
        for zone in ZONES_MAX - ZONES_OURS_MAX..ZONES_MAX {
            for qtype in TYPES {
                for bits in 0..BITS {
                    let (v6, dnssec_ok, nxdomain) = (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0);
                    for (hook, reason) in [
                        (Hook::Tc, Reason::Answered),
                        (Hook::Xdp, Reason::Answered),
                        (Hook::Xdp, Reason::Limited),
                    ] {
                        let scratch = scratch(zone, qtype, v6, dnssec_ok, nxdomain);
                        let place = place(hook, reason, &scratch);
                        assert!(!std::mem::replace(&mut taken[place], true));
                        let answer = Answer {
                            hook,
                            zone: Some(zone),
                            qtype: Some(qtype),
                            v6,
                            dnssec_ok,
                            nxdomain,
                        };
                        let answer = Some(answer);
                        assert_eq!(Counted::at(place), Some(Counted { reason, answer }));
                    }
                }
            }
        }
    }

    #[test]
    fn other_types_and_zones_without_a_place_are_each_one() {
        let told = |zone, qtype| {
            let scratch = scratch(zone, qtype, false, false, false);
            let counted = Counted::at(place(Hook::Tc, Reason::Answered, &scratch));
            let answer = counted.and_then(|counted| counted.answer).unwrap();
            (answer.zone, answer.qtype)
        };
        for qtype in [3, 99, 127, 256, u16::MAX] {
            assert_eq!(told(ZONES_MAX - 1, qtype), (Some(ZONES_MAX - 1), None));
        }
        for zone in [0, ZONES_MAX - ZONES_OURS_MAX - 1, ZONES_MAX, 255] {
            assert_eq!(told(zone, 1), (None, Some(1)));
        }
    }

    #[test]
    fn a_packet_that_passes_is_counted_by_its_reason() {
        // Whatever the packet before has left behind.
        let scratch = scratch(7, 28, true, true, true);
        for reason in Reason::ALL.iter().filter(|reason| !reason.is_answer()) {
            let place = place(Hook::Xdp, *reason, &scratch);
            let reason = *reason;
            assert_eq!(
                Counted::at(place),
                Some(Counted {
                    reason,
                    answer: None
                })
            );
        }
        assert!(Counted::at(PLACES - 1).is_some() && Counted::at(PLACES).is_none());
    }
}
