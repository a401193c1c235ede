//! The protocol between writer and reader, model-checked: the daemon's own [`Table`] writes, and the
//! programs' own [`lookup::find`] and [`negative::select`] read, over atomics of [loom] that return every value that memory may
//! return. Each scenario is run in every order of its steps, and with every value of each load, without a
//! bound on preemptions.
//!
//! # What must hold
//!
//! The writer's changes are numbered. It says when one has begun, and when it is done ([`explore`]). A read
//! that knows that change `i` was done when it began, and ends when `j` has begun, may say only what was true
//! after one of `i..=j`:
//!
//! * **A hit** is one whole version of the name that was asked for: not another name's, not a mixture, and not
//!   a version that had been replaced before the read began ([`hits`]).
//! * **A miss**, which becomes NXDOMAIN, is possible only if the name was absent after one of them ([`misses`]).
//! * Both hold while a second generation is built, becomes visible, and takes the place of the first ([`flips`]).
//! * Anything may pass. So that a table which always passes does not pass the check, each scenario names the
//!   outcomes that must have been seen.
//!
//! A version is true from the moment that its change begins: the zone, and so the socket, has it by then. Between that and
//! the store to the index a reader can see it already, if it goes to the cells that the reader's old entry leads to.
//!
//! Each guard is broken in turn, and then the model must find a read that is wrong: a copy that is not verified
//! or not compared, loads that do not follow an address, an entry that moves or is removed before it is put,
//! a mark that is lost or late, a generation that is written while it is read, or read before it is written.
//!
//! # Memory
//!
//! Loom's memory is that of C11 without load buffering: a relaxed load returns any value that was stored, as long
//! as that is not older than one that the reader must know of. x86-64 and arm64 allow less, but for one
//! thing: they order a load after the load that its address was made of, and loom does not. So both are explored:
//!
//! * **Without that order** ([`reader::Reader::WEAK`]) no miss is wrong, no hit is a mixture or another
//!   name's. This is the argument of [`lookup`] and [`negative`], which need no order between loads.
//! * **A hit in time needs it.** A record that is put where an older version of the same name was may be seen as it was before:
//!   an old version is whole, and passes every check. So does a generation that is
//!   read by a word loaded before. With the order ([`reader::Reader::PROGRAM`]) neither happens. It is stated as
//!   an acquire fence between the entry and the cells, and as an acquire load of the generation. That
//!   is more than the machines promise only if entries of other names were loaded before, so
//!   the scenarios that need the order have none in front that change under the reader.
//!
//! Load buffering (a load that returns what is stored only later, because of it) needs a reader that stores;
//! programs store nothing to these maps. What the writer stores, it stores alone.
//!
//! # What is not modelled
//!
//! * **The compiler.** BPF loads are volatile reads ([`lookup`]): LLVM neither splits, repeats nor drops them, and
//!   keeps their order. The verifier and the JIT translate them one by one; the masking of an index against Spectre
//!   keeps the dependency. A dependency through working memory (`Scratch`) is still one, by arm64's rules. What is read twice from
//!   the copy is read from memory of the CPU alone.
//! * **Torn words.** Aligned 64-bit loads and stores are whole on both machines.
//! * **More than one reader.** Readers write nothing, so that they do not see each other. There is one writer, and
//!   a lock of the daemon says so.
//! * **The flip and the grace period** are lines of this model ([`writer::Op`]): one store, and a lock that the reader
//!   holds, which is what `synchronize_rcu` promises: a reader that began before it is over, and one that
//!   begins after sees all that was stored before. Build, put and read are the real code.
//! * **Lengths.** Scenarios have up to nine changes and nine names; buckets, cells and probes have their real sizes.
//!   `cargo xtask test torn` has the real machine and millions of changes.
//!
//! Loom's atomics come by the feature `loom` of both crates, not by `--cfg loom`, which tokio would take for itself.
//!
//! [loom]: https://docs.rs/loom
//! [`Table`]: hopzero::publisher::table::Table
//! [`lookup`]: hopzero_common::lookup
//! [`lookup::find`]: hopzero_common::lookup::find
//! [`negative`]: hopzero_common::negative
//! [`negative::select`]: hopzero_common::negative::select

mod explore;
mod flips;
mod hits;
mod memory;
mod misses;
mod reader;
mod records;
mod writer;

use explore::{Outcome, Scenario, Wrong, explore};

/// No execution is wrong, and all that is expected was seen in some.
fn holds(name: &str, scenario: Scenario, expected: &[Outcome]) {
    let (seen, wrong) = explore(scenario);
    println!(
        "{name}: {} executions in {:.1?}: {:?}",
        seen.executions, seen.took, seen.outcomes
    );
    assert_eq!(wrong, None, "{name}");
    for outcome in expected {
        let found = seen.outcomes.contains_key(outcome);
        assert!(found, "{name}: {outcome:?} was never seen");
    }
}

/// A guard is broken, and some execution shows it.
fn fails(name: &str, scenario: Scenario, expected: Wrong) {
    let (seen, wrong) = explore(scenario);
    println!(
        "{name}: {wrong:?} after {} executions in {:.1?}",
        seen.executions, seen.took
    );
    assert_eq!(wrong, Some(expected), "{name}");
}
