//! The protocol between writer and reader, explored.
mod explore;
mod flips;
mod hits;
mod memory;
mod misses;
mod reader;
mod records;
mod writer;

use explore::{Outcome, Scenario, Wrong, explore};

fn holds(name: &str, scenario: Scenario, expected: &[Outcome]) {
    let (seen, wrong) = explore(scenario);
    println!(
        "{name}: {} executions in {:.1?}: {:?}",
        seen.executions, seen.took, seen.outcomes
    );
    assert_eq!(wrong, None, "{name}");
    for outcome in expected {
        assert!(
            seen.outcomes.contains_key(outcome),
            "{name}: {outcome:?} was never seen"
        );
    }
}

fn fails(name: &str, scenario: Scenario, expected: Wrong) {
    let (seen, wrong) = explore(scenario);
    println!(
        "{name}: {wrong:?} after {} executions in {:.1?}",
        seen.executions, seen.took
    );
    assert_eq!(wrong, Some(expected), "{name}");
}
