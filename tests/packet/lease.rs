//! The lease, in the loaded programs and on the kernel's clock.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use hopzero_common::reason::Reason;
use hopzero_tests::packets::{
    Case, Expect,
    kernel::{Loaded, Program},
    world,
};

/// Of enough ticks to be measured by, at 100 a second too.
const SHORT: Duration = Duration::from_millis(300);
/// A tick at 100 a second: a lease begins within one, and may be that much shorter.
const TICK: Duration = Duration::from_millis(10);
/// What a busy machine may add.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Without a lease every packet passes, and with a new one it is as before. A lease ends by itself, when it
/// should.
pub fn ends(program: Program, cases: &[Case]) -> Result<()> {
    // Its own: the other tests want theirs to last.
    let mut loaded = Loaded::new(&world::zone())?;
    loaded.kernel.renew_lease(Duration::ZERO)?;
    for case in cases {
        let passes = Case {
            expect: Expect::Pass(Reason::Lease),
            ..case.clone()
        };
        let outcome = loaded.run(program, &case.packet)?;
        passes.judge(&outcome).map_err(|error| anyhow!(error))?;
    }

    let case = cases
        .iter()
        .find(|case| matches!(case.expect, Expect::Answer(_)));
    let case = case.expect("one that is answered");
    let started = Instant::now();
    loaded.kernel.renew_lease(SHORT)?;
    let renewed = Instant::now();
    let mut answers = 0;
    let ended = loop {
        let outcome = loaded.run(program, &case.packet)?;
        if !outcome.answered {
            ensure!(outcome.reason == Reason::Lease, "{:?}", outcome.reason);
            break Instant::now();
        }
        answers += 1;
        ensure!(renewed.elapsed() < SHORT + LATE_MAX, "it never ends");
        thread::sleep(Duration::from_millis(1));
    };
    let (least, most) = (ended - renewed, ended - started);
    println!(
        "{program:?}: a lease of {} ms took {} ms, {answers} answers",
        SHORT.as_millis(),
        most.as_millis()
    );
    ensure!(
        most + TICK >= SHORT && answers > 0,
        "it took {most:?}, {answers} answers"
    );
    ensure!(least <= SHORT + LATE_MAX, "it took {least:?}");

    loaded.kernel.renew_lease(Duration::from_hours(1))?;
    for case in cases {
        let outcome = loaded.run(program, &case.packet)?;
        case.judge(&outcome).map_err(|error| anyhow!(error))?;
    }
    Ok(())
}
