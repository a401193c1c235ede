//! The readers: they run the programs, and hand what comes out to the judge.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    TestRun as _, TestRunOptions,
    programs::{SchedClassifier, Xdp},
};
use hopzero::{
    kernel::{Counters, Counts, Kernel},
    publisher::memory::Words,
};
use hopzero_common::reason::Reason;
use hopzero_tests::packets::kernel::{Loaded, Program};

use crate::{
    board::{Board, Window},
    judge::{Judge, Read},
    layout::{
        ANSWER_BYTES_MAX, CURSOR_WORDS, QUERIES_MAX, QUERY_BYTES_MAX, QUERY_WORDS, READ_WORDS,
        READS_MAX, SOA, UNIT_WORDS, UNITS_MAX,
    },
    map_words,
    progress::Progress,
    world::{Question, mix},
};

/// How much is read.
#[derive(Clone, Copy)]
pub struct Limit {
    /// So many reads,
    pub reads: u64,
    /// or as many faults.
    pub faults: u64,
}

impl Limit {
    fn is_reached(self, judge: &Judge) -> bool {
        judge.seen.reads >= self.reads || judge.seen.faults() >= self.faults
    }
}

/// A number of a question, at random.
fn ask(read: u64, questions: usize) -> usize {
    usize::try_from(mix(read ^ 0x5ead << 40) % questions as u64).expect("small")
}

/// Reads through the programs of `hopzero-torn`, many times in one system call.
pub struct Batches {
    queries: Words,
    reads: Words,
    cursor: Words,
    units: Option<Words>,
}

impl Batches {
    /// The maps of the loaded programs.
    pub fn new(kernel: &mut Kernel) -> Result<Self> {
        Ok(Batches {
            queries: map_words(kernel, "QUERIES", QUERIES_MAX * QUERY_WORDS)?,
            reads: map_words(kernel, "READS", READS_MAX * READ_WORDS)?,
            cursor: map_words(kernel, "CURSOR", CURSOR_WORDS)?,
            units: Some(map_words(kernel, "UNITS", UNITS_MAX * UNIT_WORDS)?),
        })
    }

    /// The board that the programs look at.
    pub fn board(&mut self) -> Result<Board> {
        Ok(Board::new(self.units.take().context("one board")?))
    }

    /// Reads until the limit, through both programs in turns.
    pub fn read(
        &self,
        loaded: &mut Loaded,
        judge: &mut Judge,
        limit: Limit,
        mut progress: Progress,
    ) -> Result<()> {
        self.prepare(&judge.questions)?;
        let longest = (judge.questions.iter().map(|question| &question.packet))
            .max_by_key(|packet| packet.len())
            .context("no question")?
            .clone();
        let mut packet = Vec::new();
        let mut program = Program::Xdp;
        while !limit.is_reached(judge) {
            let left = limit.reads - judge.seen.reads;
            let count = usize::try_from(left.min(READS_MAX as u64))?;
            for number in 0..count {
                let question = ask(judge.seen.reads + number as u64, judge.questions.len());
                self.reads.store(number * READ_WORDS, question as u64);
            }
            self.cursor.store(0, 0);
            self.cursor.store(1, count as u64);
            run(loaded, program, &longest)?;
            ensure!(
                self.cursor.load(0) == count as u64,
                "{program:?}: read {} of {count} failed",
                self.cursor.load(0)
            );
            for number in 0..count {
                judge.judge(&self.get(number, &mut packet)?);
            }
            program = match program {
                Program::Xdp => Program::Tc,
                Program::Tc => Program::Xdp,
            };
            progress.show(&judge.seen);
        }
        Ok(())
    }

    fn prepare(&self, questions: &[Question]) -> Result<()> {
        ensure!(
            questions.len() <= QUERIES_MAX,
            "{} questions",
            questions.len()
        );
        for (index, question) in questions.iter().enumerate() {
            ensure!(question.packet.len() <= QUERY_BYTES_MAX && question.unit < SOA);
            let first = index * QUERY_WORDS;
            let head = question.packet.len() as u64 | (question.unit as u64) << 32;
            self.queries.store(first, head);
            for (offset, chunk) in question.packet.chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                (self.queries).store(first + 1 + offset, u64::from_ne_bytes(word));
            }
        }
        Ok(())
    }

    /// What was read, as [`crate::layout::Read`] has it.
    fn get<'a>(&self, number: usize, packet: &'a mut Vec<u8>) -> Result<Read<'a>> {
        const HEAD_WORDS: usize = (size_of::<crate::layout::Read>() - ANSWER_BYTES_MAX) / 8;
        let words = &self.reads.get()[number * READ_WORDS..][..READ_WORDS];
        let load = |index: usize| words[index].load(std::sync::atomic::Ordering::Relaxed);
        let (reason, len) = (load(1) & 0xffff_ffff, usize::try_from(load(1) >> 32)?);
        ensure!(len <= ANSWER_BYTES_MAX, "{len} bytes");
        packet.clear();
        for index in 0..len.div_ceil(8) {
            packet.extend_from_slice(&load(HEAD_WORDS + index).to_ne_bytes());
        }
        packet.truncate(len);
        let window = |oldest: usize| -> Result<Window> {
            Ok(Window {
                oldest: load(oldest).try_into()?,
                newest: load(oldest + 1).try_into()?,
            })
        };
        Ok(Read {
            question: usize::try_from(load(0))?,
            reason: *(Reason::ALL.get(usize::try_from(reason)?)).context("no such reason")?,
            packet,
            window: window(2)?,
            soa: window(4)?,
        })
    }
}

/// Runs a program on a packet, which it changes.
fn run(loaded: &mut Loaded, program: Program, packet: &[u8]) -> Result<()> {
    let options = TestRunOptions {
        data_in: Some(packet),
        ..TestRunOptions::default()
    };
    let ebpf = loaded.kernel.ebpf();
    match program {
        Program::Xdp => {
            let program: &Xdp = (ebpf.program("hopzero_xdp"))
                .context("no program")?
                .try_into()?;
            program.test_run(options)?;
        }
        Program::Tc => {
            let program: &SchedClassifier = (ebpf.program("hopzero_tc"))
                .context("no program")?
                .try_into()?;
            program.test_run(options)?;
        }
    }
    Ok(())
}

/// Reads through the daemon's own programs, once a system call.
pub fn read_one_by_one(
    loaded: &mut Loaded,
    judge: &mut Judge,
    board: &Board,
    limit: Limit,
    mut progress: Progress,
) -> Result<()> {
    const XDP_PASS: u32 = 2;
    const XDP_TX: u32 = 3;
    const TC_PASS: u32 = u32::MAX;
    const TC_REDIRECT: u32 = 7;
    let mut out = vec![0; 4096];
    let mut passes = Passes::new(&loaded.kernel)?;
    while !limit.is_reached(judge) {
        let index = ask(judge.seen.reads, judge.questions.len());
        let question = &judge.questions[index];
        let program = if judge.seen.reads.is_multiple_of(2) {
            Program::Xdp
        } else {
            Program::Tc
        };
        let oldest = [question.unit, SOA].map(|unit| board.oldest(unit));
        let (action, len) = loaded.run_raw(program, &question.packet, &mut out)?;
        let newest = [question.unit, SOA].map(|unit| board.newest(unit));
        let reason = match (program, action) {
            (Program::Xdp, XDP_TX) | (Program::Tc, TC_REDIRECT) => Reason::Answered,
            (Program::Xdp, XDP_PASS) | (Program::Tc, TC_PASS) => passes.next()?,
            _ => bail!("{program:?} returned {action}"),
        };
        let window = |which: usize| Window {
            oldest: oldest[which],
            newest: newest[which],
        };
        judge.judge(&Read {
            question: index,
            reason,
            packet: &out[..len],
            window: window(0),
            soa: window(1),
        });
        progress.show(&judge.seen);
    }
    Ok(())
}

/// Why packets passed: which counter moved.
struct Passes {
    counters: Arc<Counters>,
    before: Counts,
}

impl Passes {
    fn new(kernel: &Kernel) -> Result<Self> {
        let counters = kernel.counters();
        Ok(Passes {
            before: counters.read()?,
            counters,
        })
    }

    /// The one reason other than an answer that was counted since.
    fn next(&mut self) -> Result<Reason> {
        let now = self.counters.read()?;
        let reason = (now.since(&self.before).counted())
            .map(|(counted, _)| counted.reason)
            .find(|reason| *reason != Reason::Answered);
        self.before = now;
        reason.context("a packet passed, and no reason was counted")
    }
}
