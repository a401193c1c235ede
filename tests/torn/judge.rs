//! The judge: holds what was read against what was true meanwhile.

use std::collections::BTreeMap;

use hopzero_common::reason::Reason;
use hopzero_tests::packets::build::wire_name;

use crate::{
    board::{Board, Window},
    world::{Question, SIZE, Truth, World, ZONE},
};

/// Wrong answers that are told; the others are counted.
const TOLD_MAX: usize = 3;
/// Bytes of an answer that are told.
const TOLD_BYTES_MAX: usize = 32;
/// TTL of the SOA, and its minimum.
const SOA_TTL: u32 = 5;
const SOA: u8 = 6;
const NXDOMAIN: u8 = 3;

/// One read.
pub struct Read<'a> {
    pub question: usize,
    pub reason: Reason,
    /// The packet as it came out.
    pub packet: &'a [u8],
    /// Versions of the unit.
    pub window: Window,
    /// Versions of the SOA.
    pub soa: Window,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub reads: u64,
    /// Answers with records, NODATA, NXDOMAIN.
    pub records: u64,
    pub no_data: u64,
    pub no_name: u64,
    /// Packets that passed, by reason.
    pub passes: BTreeMap<Reason, u64>,
    /// Answers of no version that was true, and other bytes than a version has.
    pub wrong: u64,
    /// NXDOMAIN and NODATA for what was there all along.
    pub denied: u64,
    /// Names that were there all along, and not found.
    pub missed: u64,
    /// The first of them, readable.
    pub told: Vec<String>,
}

impl Seen {
    pub fn answered(&self) -> u64 {
        self.records + self.no_data + self.no_name
    }

    pub fn faults(&self) -> u64 {
        self.wrong + self.denied + self.missed
    }
}

/// What must not be.
enum Fault {
    Denied(String),
    Missed,
    Wrong(String),
}

impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        Fault::Wrong(text.into())
    }
}

/// Judges reads.
pub struct Judge<'a> {
    world: &'a dyn World,
    board: &'a Board,
    pub questions: Vec<Question>,
    soa_names: [Vec<u8>; 2],
    records: Vec<u8>,
    expected: Vec<u8>,
    /// The newest version that was seen, where all changes at once.
    newest_seen: u32,
    pub seen: Seen,
}

impl<'a> Judge<'a> {
    pub fn new(world: &'a dyn World, board: &'a Board) -> Self {
        Judge {
            world,
            board,
            questions: world.questions(),
            soa_names: ["ns.dns", "hostmaster"].map(|name| wire_name(&format!("{name}.{ZONE}"))),
            records: Vec::new(),
            expected: Vec::new(),
            newest_seen: 0,
            seen: Seen::default(),
        }
    }

    /// To be called in the order in which was read.
    pub fn judge(&mut self, read: &Read) {
        let window = Window {
            oldest: read.window.oldest.max(self.newest_seen),
            ..read.window
        };
        let read = &Read { window, ..*read };
        self.seen.reads += 1;
        let verdict = if read.reason == Reason::Answered {
            self.answered(read)
        } else {
            *self.seen.passes.entry(read.reason).or_default() += 1;
            self.passed(read)
        };
        if let Err(fault) = verdict {
            self.note(read, fault);
        }
    }

    fn passed(&mut self, read: &Read) -> Result<(), Fault> {
        let question = &self.questions[read.question];
        if read.packet != question.packet {
            return Err("passed, and not as it came".into());
        }
        match read.reason {
            Reason::Inconsistent | Reason::Collision => Ok(()),
            Reason::UnknownName => {
                let is_right = if question.is_deniable {
                    self.board.was_without_soa(read.soa)
                } else {
                    self.could_be(read, Truth::Absent)
                };
                if is_right { Ok(()) } else { Err(Fault::Missed) }
            }
            other => Err(Fault::Wrong(format!("passed as {other:?}"))),
        }
    }

    /// Whether this was true at some moment.
    fn could_be(&mut self, read: &Read, truth: Truth) -> bool {
        read.window
            .versions()
            .any(|version| self.truth(read.question, version) == truth)
    }

    fn truth(&mut self, question: usize, version: u32) -> Truth {
        self.records.clear();
        if version == 0 {
            return Truth::Absent;
        }
        self.world
            .truth(&self.questions[question], version, &mut self.records)
    }

    fn answered(&mut self, read: &Read) -> Result<(), Fault> {
        let question = &self.questions[read.question];
        let reply = read
            .packet
            .get(question.dns..)
            .ok_or("shorter than headers")?;
        let header = reply.get(..12).ok_or("shorter than a header")?;
        if header[9] != 0 {
            return self.denied(read, reply);
        }
        self.seen.records += 1;
        let mut alike = 0;
        for version in read.window.versions() {
            if let Truth::Records(answers, additionals) = self.truth(read.question, version) {
                self.expect(read.question, 0, [answers, 0, additionals]);
                if reply == self.expected {
                    if self.world.is_one_step() {
                        self.newest_seen = version;
                    }
                    return Ok(());
                }
                let pairs = reply.iter().zip(&self.expected);
                alike = alike.max(pairs.take_while(|(is, should)| is == should).count());
            }
        }
        let Window { oldest, newest } = read.window;
        Err(Fault::Wrong(format!(
            "{} answers in {} bytes, as in none of versions {oldest} to {newest}: from byte {alike} on {:02x?}",
            reply[7],
            reply.len(),
            reply[alike..]
                .iter()
                .take(TOLD_BYTES_MAX)
                .collect::<Vec<_>>()
        )))
    }

    /// NXDOMAIN or NODATA, with a SOA.
    fn denied(&mut self, read: &Read, reply: &[u8]) -> Result<(), Fault> {
        let rcode = reply[3] & 15;
        let truth = if rcode == NXDOMAIN {
            self.seen.no_name += 1;
            Truth::Absent
        } else {
            self.seen.no_data += 1;
            Truth::NoData
        };
        let Window { oldest, newest } = read.window;
        if !self.could_be(read, truth) {
            return Err(Fault::Denied(format!(
                "{truth:?}, which is true of none of versions {oldest} to {newest}"
            )));
        }
        let question = &self.questions[read.question];
        if !question.is_deniable {
            return Err("denied by a zone that is not complete".into());
        }
        // Owner, type, class, TTL, length, two names.
        let [mname, rname] = &self.soa_names;
        let serial_at = question.asked_end + 12 + mname.len() + rname.len();
        let serial = (reply.get(serial_at..serial_at + 4))
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_be_bytes)
            .ok_or("no SOA in the answer")?;
        let Window { oldest, newest } = read.soa;
        if !read.soa.holds(serial) {
            return Err(Fault::Wrong(format!(
                "serial {serial}, where {oldest} to {newest} were true"
            )));
        }
        self.records.clear();
        let owner = question.asked_end - 4 - wire_name(ZONE).len();
        let mut rdata = [mname.as_slice(), rname].concat();
        for number in [serial, 7200, 1800, 86_400, SOA_TTL] {
            rdata.extend_from_slice(&number.to_be_bytes());
        }
        let owner = [0xc0, u8::try_from(owner).expect("small")];
        crate::world::record(&mut self.records, Some(&owner), SOA.into(), SOA_TTL, &rdata);
        self.expect(read.question, rcode, [0, 1, 0]);
        if reply == self.expected {
            Ok(())
        } else {
            Err(Fault::Wrong(format!(
                "serial {serial}, {truth:?}: other bytes: {reply:02x?}, not {:02x?}",
                self.expected
            )))
        }
    }

    /// What must be answered: with these counts of records, which are in `records`.
    fn expect(&mut self, question: usize, rcode: u8, counts: [u8; 3]) {
        let question = &self.questions[question];
        let query = &question.packet[question.dns..];
        let [answers, authority, additionals] = counts;
        let reply = &mut self.expected;
        reply.clear();
        reply.extend_from_slice(&query[..2]);
        reply.extend_from_slice(&[0x85, rcode, 0, 1, 0, answers, 0, authority]);
        reply.extend_from_slice(&[0, additionals + 1]);
        reply.extend_from_slice(&query[12..question.asked_end]);
        reply.extend_from_slice(&self.records);
        reply.extend_from_slice(&[0, 0, 41]);
        reply.extend_from_slice(&SIZE.to_be_bytes());
        reply.extend_from_slice(&[0; 6]);
    }

    fn note(&mut self, read: &Read, fault: Fault) {
        let seen = &mut self.seen;
        let text = match fault {
            Fault::Missed => {
                seen.missed += 1;
                let Window { oldest, newest } = read.window;
                format!("not found, though there in all of versions {oldest} to {newest}")
            }
            Fault::Denied(text) => {
                seen.denied += 1;
                text
            }
            Fault::Wrong(text) => {
                seen.wrong += 1;
                text
            }
        };
        if seen.told.len() < TOLD_MAX {
            let Question { name, qtype, .. } = &self.questions[read.question];
            seen.told.push(format!("{name}, type {qtype}: {text}"));
        }
    }
}
