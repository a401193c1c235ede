//! Runs a writer and a reader in every order, with every value that each load may return.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hopzero_common::{reason::Reason, word::AtomicU64};
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::{
    memory::Memory,
    reader::{Asks, Reader},
    records::Record,
    writer::{Op, Writer},
};

/// What is explored.
pub struct Scenario {
    /// Buckets of a generation.
    pub buckets: u32,
    /// Cells of a generation.
    pub cells: u32,
    /// Done before the reader begins.
    pub before: Vec<Op>,
    /// Done while it reads.
    pub during: Vec<Op>,
    /// A record of the name that is asked for.
    pub asked: Record,
    /// How it reads.
    pub reader: Reader,
    /// What is no reason to stop.
    pub tolerates: Option<Wrong>,
}

/// What a read came to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A version of the name.
    Hit(u32),
    /// The name does not exist.
    Miss,
    /// The packet passes, and why.
    Pass(&'static str),
    /// What the scenario tolerates.
    Tolerated(Wrong),
}

/// A read that says what was true at no moment of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A mixture, or another name's.
    Foreign,
    /// A version that had been replaced before the read began.
    Stale,
    /// A version that nobody was to see yet.
    Early,
    /// A miss of a name that was there all along.
    Missed,
}

/// What was seen in all executions.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many there were.
    pub executions: u64,
    /// What the reads came to, and how often.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// How long it took.
    pub took: Duration,
}

/// Runs every execution, or all up to the first that is wrong.
pub fn explore(scenario: Scenario) -> (Seen, Option<Wrong>) {
    let mut builder = loom::model::Builder::new();
    // Each load and store is two; before the reader begins there are many, with one outcome each.
    builder.max_branches = 20_000;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let truth = truth(&scenario);
    let scenario = Arc::new(scenario);
    let log = Arc::clone(&seen);
    let started = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || run(&scenario, &truth, &log));
    }));
    let wrong = ended.err().map(|panic| match panic.downcast::<Wrong>() {
        Ok(wrong) => *wrong,
        Err(other) => resume_unwind(other),
    });
    let mut seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    seen.took = started.elapsed();
    (seen, wrong)
}

/// What is asked for, before the first change and after each.
fn truth(scenario: &Scenario) -> Vec<Option<Record>> {
    let mut state = State::default();
    for op in &scenario.before {
        state.apply(op, scenario);
    }
    let mut truth = vec![state.visible()];
    truth.extend(scenario.during.iter().map(|op| {
        state.apply(op, scenario);
        state.visible()
    }));
    truth
}

/// What each generation has of it.
#[derive(Default)]
struct State {
    records: [Option<Record>; 2],
    written: usize,
    read: usize,
}

impl State {
    fn apply(&mut self, op: &Op, scenario: &Scenario) {
        let is_asked = |record: Record| record.is_of_name(scenario.asked);
        let of_index = scenario.reader.asks == Asks::Name;
        let record = &mut self.records[self.written];
        match op {
            // What is wrong is how it is done, not what it comes to.
            Op::Put(put) | Op::Wrong(_, put) if of_index && is_asked(put) => *record = Some(put),
            Op::Remove(removed) if of_index && is_asked(removed) => *record = None,
            Op::Soa(soa) if !of_index && is_asked(soa) => *record = Some(soa),
            Op::Rebuild => {
                self.written = 1 - self.written;
                self.records[self.written] = None;
            }
            Op::Flip => self.read = self.written,
            _ => {}
        }
    }

    fn visible(&self) -> Option<Record> {
        self.records[self.read]
    }
}

/// How many changes have begun, and how many are done.
struct Progress {
    begun: AtomicU64,
    done: AtomicU64,
}

fn run(scenario: &Arc<Scenario>, truth: &[Option<Record>], seen: &Mutex<Seen>) {
    let memory = Arc::new(Memory::new(scenario.buckets, scenario.cells));
    let mut writer = Writer::new(&memory);
    for op in &scenario.before {
        writer.apply(op);
    }
    let progress = Arc::new(Progress {
        begun: AtomicU64::new(0),
        done: AtomicU64::new(0),
    });
    // When it can be early only by a version that is not begun, loom never shows it.
    let counts_begun = truth.iter().any(Option::is_none)
        || scenario.during.iter().any(|op| matches!(op, Op::Flip));
    let thread = {
        let (scenario, progress) = (Arc::clone(scenario), Arc::clone(&progress));
        loom::thread::spawn(move || {
            for (done, op) in (1..).zip(&scenario.during) {
                if counts_begun {
                    progress.begun.store(done, Relaxed);
                }
                writer.apply(op);
                progress.done.store(done, Release);
            }
        })
    };
    let number = |count: u64| usize::try_from(count).expect("a few");
    // What was done when the read begins, so that the reader knows that it was.
    let oldest = number(progress.done.load(Acquire));
    let found = scenario.reader.read(&memory, scenario.asked);
    // By a read-modify-write, which sees the newest value and orders nothing.
    let newest = if counts_begun {
        number(progress.begun.fetch_add(0, Relaxed))
    } else {
        scenario.during.len()
    };
    thread.join().expect("the writer does not panic");

    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.executions += 1;
    let mut judged = judge(found, truth, oldest, newest);
    if let Err(wrong) = judged
        && scenario.tolerates == Some(wrong)
    {
        judged = Ok(Outcome::Tolerated(wrong));
    }
    match judged {
        Ok(outcome) => *seen.outcomes.entry(outcome).or_default() += 1,
        Err(wrong) => {
            drop(seen);
            // Without the message of a panic: most of them are wanted.
            resume_unwind(Box::new(wrong));
        }
    }
}

/// Holds what a read found against what was true between its begin and its end.
fn judge(
    found: Result<Vec<u64>, Reason>,
    truth: &[Option<Record>],
    oldest: usize,
    newest: usize,
) -> Result<Outcome, Wrong> {
    match found {
        Ok(words) => {
            let is_it = |record: &&Record| words.starts_with(record.encoded.words());
            let among = |states: &[Option<Record>]| {
                let found = states.iter().flatten().find(is_it);
                found.map(|record| record.number)
            };
            if let Some(number) = among(&truth[oldest..=newest]) {
                Ok(Outcome::Hit(number))
            } else if among(&truth[..oldest]).is_some() {
                Err(Wrong::Stale)
            } else if among(truth).is_some() {
                Err(Wrong::Early)
            } else {
                Err(Wrong::Foreign)
            }
        }
        Err(Reason::UnknownName) if truth[oldest..=newest].iter().all(Option::is_some) => {
            Err(Wrong::Missed)
        }
        Err(Reason::UnknownName) => Ok(Outcome::Miss),
        Err(reason) => Ok(Outcome::Pass(reason.label())),
    }
}
