//! Packets, and what must become of them: one table for the host and for the kernel.
//!
//! | module | concept |
//! |---|---|
//! | [`build`] | queries, byte by byte |
//! | [`world`] | the zone that they ask |
//! | [`host`] | the program, run on the host |
//! | [`kernel`] | the program, run by `BPF_PROG_TEST_RUN` |
//! | [`rotation`] | answers that are equal but for it |
//! | [`oracle`] | what must hold for any packet |
//! | [`passes`] | packets that must come out as they went in |
//! | [`answers`] | packets that must be answered |
//! | [`limited`] | what becomes of them over the limit |

pub mod answers;
pub mod build;
pub mod host;
pub mod kernel;
pub mod limited;
pub mod oracle;
pub mod passes;
pub mod rotation;
pub mod world;

use hickory_proto::rr::Name;
use hopzero_common::{
    counter::{Answer, Counted, Hook},
    reason::Reason,
};

/// Types of which metrics have the names: A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DS, RRSIG, NSEC, DNSKEY, NSEC3,
/// SVCB, HTTPS.
const TYPES_TOLD: [u16; 16] = [1, 2, 5, 6, 12, 15, 16, 28, 33, 43, 46, 47, 48, 50, 64, 65];

/// A packet and what must become of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// What goes in.
    pub packet: Vec<u8>,
    /// What must happen.
    pub expect: Expect,
}

/// What must become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It comes out byte for byte as it went in, for this reason.
    Pass(Reason),
    /// It comes out as this answer.
    Answer(Vec<u8>),
    /// It comes out as this answer, but its addresses may be rotated.
    Rotated(Vec<u8>),
    /// It comes out as this answer, which says no more than TC=1.
    Limited(Vec<u8>),
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it goes back where it came from.
    pub answered: bool,
    /// Why.
    pub reason: Reason,
    /// As what it was counted.
    pub counted: Counted,
    /// What came out.
    pub packet: Vec<u8>,
}

impl Case {
    /// The same in a VLAN, with a priority that must be kept.
    #[must_use]
    pub fn tagged(self) -> Self {
        let tag =
            |packet: &[u8]| build::tagged(packet, build::DOT1Q, build::PRIORITY | build::VLAN);
        Case {
            name: format!("{}, in a VLAN", self.name),
            packet: tag(&self.packet),
            expect: match self.expect {
                Expect::Pass(reason) => Expect::Pass(reason),
                Expect::Answer(packet) => Expect::Answer(tag(&packet)),
                Expect::Rotated(packet) => Expect::Rotated(tag(&packet)),
                Expect::Limited(packet) => Expect::Limited(tag(&packet)),
            },
        }
    }

    /// Says how the outcome is not as it must be.
    ///
    /// # Errors
    /// The difference, readable.
    pub fn judge(&self, outcome: &Outcome) -> Result<(), String> {
        self.judge_among(outcome, &world::place_of)
    }

    /// The same, where the programs have other zones at other places.
    ///
    /// # Errors
    /// The difference, readable.
    pub fn judge_among(
        &self,
        outcome: &Outcome,
        place_of: &dyn Fn(&Name) -> Option<usize>,
    ) -> Result<(), String> {
        let (answered, reason, packet) = match &self.expect {
            Expect::Pass(reason) => (false, *reason, &self.packet),
            Expect::Answer(packet) | Expect::Rotated(packet) => (true, Reason::Answered, packet),
            Expect::Limited(packet) => (true, Reason::Limited, packet),
        };
        if outcome.reason != reason {
            return Err(format!(
                "{}: {:?}, expected {reason:?}",
                self.name, outcome.reason
            ));
        }
        if answered {
            let expected = counted_as(&self.packet, &outcome.packet, place_of);
            let counted = outcome.counted.answer.map(|answer| Answer {
                hook: expected.hook,
                ..answer
            });
            if counted != Some(expected) {
                return Err(format!(
                    "{}: counted as {counted:?}, expected {expected:?}",
                    self.name
                ));
            }
        }
        if outcome.answered != answered {
            return Err(format!("{}: answered is {}", self.name, outcome.answered));
        }
        let is_rotated = || {
            matches!(self.expect, Expect::Rotated(_))
                && rotation::first(packet, &outcome.packet).is_some()
        };
        if outcome.packet != *packet && !is_rotated() {
            return Err(format!(
                "{}: came out as\n  {}\nexpected\n  {}",
                self.name,
                hex(&outcome.packet),
                hex(packet)
            ));
        }
        Ok(())
    }
}

/// As what an answer must be counted, but for the hook, from the bytes of query and answer.
fn counted_as(packet: &[u8], answer: &[u8], place_of: &dyn Fn(&Name) -> Option<usize>) -> Answer {
    let dns = build::dns_of(packet);
    let (query, reply) = (&packet[dns..], &answer[dns..]);
    let name_len = query[12..].iter().position(|byte| *byte == 0);
    let tail = 12 + name_len.expect("a name") + 1;
    let opt_flags = tail + 4 + 7;
    Answer {
        hook: Hook::Tc,
        zone: place_of(&build::question_of(packet)),
        qtype: Some(u16::from_be_bytes([query[tail], query[tail + 1]]))
            .filter(|qtype| TYPES_TOLD.contains(qtype)),
        v6: packet[12 + build::tag_len(packet)] == 0x86,
        dnssec_ok: query[11] == 1 && query[opt_flags] & 0x80 != 0,
        nxdomain: reply[3] & 0xf == 3,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod astray;
#[cfg(test)]
mod tests;
