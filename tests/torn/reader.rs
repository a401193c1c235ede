//! The reader: runs the program, and holds each answer against what was true while it ran.

use std::collections::BTreeMap;

use anyhow::Result;
use hopzero_common::reason::Reason;
use hopzero_tests::packets::{
    build::{A, AAAA, DNS_V4, DNS_V6, message, v4, v6, with_opt},
    kernel::{Loaded, Program},
};

use crate::states::{Board, NAMES, State, mix, name_of};

/// `XDP_TX`
const TX: u32 = 3;
/// `XDP_PASS`
const PASS: u32 = 2;
/// The client's size in its OPT record.
const SIZE: u16 = 1232;
/// Wrong answers that are told; the others are counted.
const TOLD_MAX: usize = 3;
/// Header, and the tail of a question.
const AROUND_NAME: usize = 12 + 4;

/// What the reader saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub reads: u64,
    pub answered: u64,
    /// Packets that passed, by reason.
    pub passes: BTreeMap<Reason, u64>,
    /// Answers of no version that was true, and other bytes than a version has.
    pub wrong: u64,
    /// Names that were there all along, and not found.
    pub missed: u64,
    /// The first of them, readable.
    pub told: Vec<String>,
}

struct Question {
    name: usize,
    qtype: u16,
    packet: Vec<u8>,
    /// Offset of the message.
    dns: usize,
    /// Bytes of the message up to the end of the question.
    asked_end: usize,
}

fn questions() -> Vec<Question> {
    (0..NAMES * 2)
        .map(|index| {
            let name = index / 2;
            let (qtype, dns) = if index % 2 == 0 {
                (A, DNS_V4)
            } else {
                (AAAA, DNS_V6)
            };
            let message = with_opt(message(&name_of(name), qtype), SIZE, false, &[]);
            Question {
                name,
                qtype,
                packet: if dns == DNS_V4 {
                    v4(&message)
                } else {
                    v6(&message)
                },
                dns,
                asked_end: AROUND_NAME + name_of(name).len() + 2,
            }
        })
        .collect()
}

/// Asks `reads` times, or until `enough` faults were seen.
pub fn read(loaded: &mut Loaded, board: &Board, reads: u64, enough: u64) -> Result<Seen> {
    let questions = questions();
    let mut seen = Seen::default();
    let mut out = vec![0; 4096];
    let mut expected = Vec::new();
    let counters = loaded.kernel.counters();
    let mut before: BTreeMap<Reason, u64> = counters.read()?.into_iter().collect();
    while seen.reads < reads && seen.wrong + seen.missed < enough {
        let random = mix(seen.reads ^ 0x5ead << 40);
        let index = usize::try_from(random % questions.len() as u64)?;
        let question = &questions[index];
        let oldest = board.oldest(question.name);
        let (action, len) = loaded.run_raw(Program::Xdp, &question.packet, &mut out)?;
        let newest = board.newest(question.name);
        seen.reads += 1;
        let verdict = match action {
            TX => {
                seen.answered += 1;
                judge(question, &out[..len], (oldest, newest), &mut expected)
            }
            PASS if out[..len] == question.packet => {
                let now: BTreeMap<Reason, u64> = counters.read()?.into_iter().collect();
                let reason = pass_since(&before, &now);
                before = now;
                *seen.passes.entry(reason).or_default() += 1;
                let absent = || board.was_absent(question.name, oldest, newest);
                match reason {
                    Reason::Inconsistent | Reason::Collision => Ok(()),
                    Reason::UnknownName if absent() => Ok(()),
                    Reason::UnknownName => Err(Fault::Missed(oldest, newest)),
                    other => Err(Fault::Wrong(format!("passed as {other:?}"))),
                }
            }
            PASS => Err(Fault::Wrong("passed, and not as it came".into())),
            other => Err(Fault::Wrong(format!("the program returned {other}"))),
        };
        if let Err(fault) = verdict {
            seen.note(question, fault);
        }
    }
    Ok(seen)
}

/// What must not be.
enum Fault {
    /// The name was there in all of these versions, and not found.
    Missed(u32, u32),
    Wrong(String),
}

impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        Fault::Wrong(text.into())
    }
}

impl Seen {
    fn note(&mut self, question: &Question, fault: Fault) {
        let text = match fault {
            Fault::Missed(oldest, newest) => {
                self.missed += 1;
                format!("not found, though there in all of versions {oldest} to {newest}")
            }
            Fault::Wrong(text) => {
                self.wrong += 1;
                text
            }
        };
        if self.told.len() < TOLD_MAX {
            let Question { name, qtype, .. } = question;
            self.told.push(format!("name {name}, type {qtype}: {text}"));
        }
    }
}

/// The one reason other than an answer that was counted since.
fn pass_since(before: &BTreeMap<Reason, u64>, now: &BTreeMap<Reason, u64>) -> Reason {
    (now.iter())
        .find(|(reason, count)| **reason != Reason::Answered && before.get(reason) != Some(count))
        .map_or(Reason::Internal, |(reason, _)| *reason)
}

/// The answer says a version; it must have been true, and the answer must be that one's, whole.
fn judge(
    question: &Question,
    packet: &[u8],
    (oldest, newest): (u32, u32),
    expected: &mut Vec<u8>,
) -> Result<(), Fault> {
    let reply = packet.get(question.dns..).ok_or("shorter than headers")?;
    let ttl = question.asked_end + 6;
    let version = (reply.get(ttl..ttl + 4))
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_be_bytes)
        .ok_or("no record in the answer")?;
    if !(oldest..=newest).contains(&version) {
        return Err(Fault::Wrong(format!(
            "version {version}, where {oldest} to {newest} were true"
        )));
    }
    reply_of(question, version, expected);
    if reply == expected {
        Ok(())
    } else {
        let at = (reply.iter().zip(expected.iter())).position(|(is, should)| is != should);
        Err(Fault::Wrong(format!(
            "version {version}: {} bytes, {} expected, the first that differs at {at:?}",
            reply.len(),
            expected.len()
        )))
    }
}

/// What must be answered in a version.
fn reply_of(question: &Question, version: u32, reply: &mut Vec<u8>) {
    let state = State::of(question.name, version);
    let query = &question.packet[question.dns..];
    let count = if question.qtype == A {
        state.a_count
    } else {
        state.aaaa_count
    };
    reply.clear();
    reply.extend_from_slice(&query[..2]);
    let count_byte = u8::try_from(count).expect("small");
    reply.extend_from_slice(&[0x85, 0, 0, 1, 0, count_byte, 0, 0, 0, 1]);
    reply.extend_from_slice(&query[12..question.asked_end]);
    for place in 0..count {
        reply.extend_from_slice(&[
            0xc0,
            0x0c,
            0,
            u8::try_from(question.qtype).expect("small"),
            0,
            1,
        ]);
        reply.extend_from_slice(&version.to_be_bytes());
        if question.qtype == A {
            reply.extend_from_slice(&[0, 4]);
            reply.extend_from_slice(&state.a(place));
        } else {
            reply.extend_from_slice(&[0, 16]);
            reply.extend_from_slice(&state.aaaa(place));
        }
    }
    reply.extend_from_slice(&[0, 0, 41]);
    reply.extend_from_slice(&SIZE.to_be_bytes());
    reply.extend_from_slice(&[0; 6]);
}
