//! The table of packets, through the loaded programs (`BPF_PROG_TEST_RUN`).

mod lease;
mod limits;
mod rotation;
mod switches;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
};

use hopzero_tests::{
    harness::{self, Test},
    packets::{
        Case, answers,
        kernel::{Loaded, Program},
        passes, world,
    },
};
use libtest_mimic::{Failed, Trial};

const PROGRAMS: [Program; 2] = [Program::Xdp, Program::Tc];

fn main() -> ExitCode {
    let cases: Vec<Case> = (passes::cases().into_iter())
        .chain(answers::cases(world::zone()))
        .chain(answers::tagged_cases(world::zone()))
        .collect();
    let others = [limits::tests(), switches::tests()];
    let others: Vec<Test> = others.into_iter().flatten().collect();
    let names: Vec<String> = (PROGRAMS.iter())
        .flat_map(|program| cases.iter().map(move |case| name(*program, case)))
        .chain(PROGRAMS.map(lease_name))
        .chain(PROGRAMS.map(rotation_name))
        .chain(others.iter().map(|test| test.name().to_owned()))
        .collect();
    harness::run(
        || {
            let loaded = Arc::new(Mutex::new(Loaded::new(&world::zone())?));
            let trials = PROGRAMS.into_iter().flat_map(|program| {
                let loaded = Arc::clone(&loaded);
                (cases.clone().into_iter())
                    .map(move |case| trial(program, case, Arc::clone(&loaded)))
            });
            let leases = PROGRAMS.map(|program| lease_trial(program, cases.clone()));
            let rotations = PROGRAMS.map(|program| rotation_trial(program, cases.clone()));
            let others = others.into_iter().map(Test::trial);
            Ok(trials
                .chain(leases)
                .chain(rotations)
                .chain(others)
                .collect())
        },
        &names,
    )
}

fn name(program: Program, case: &Case) -> String {
    format!("{program:?}: {}", case.name)
}

fn lease_name(program: Program) -> String {
    format!("{program:?}: a lease ends")
}

fn lease_trial(program: Program, cases: Vec<Case>) -> Trial {
    Trial::test(lease_name(program), move || {
        lease::ends(program, &cases).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn rotation_name(program: Program) -> String {
    format!("{program:?}: addresses are rotated")
}

fn rotation_trial(program: Program, cases: Vec<Case>) -> Trial {
    Trial::test(rotation_name(program), move || {
        rotation::is_even(program, &cases).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn trial(program: Program, case: Case, loaded: Arc<Mutex<Loaded>>) -> Trial {
    Trial::test(name(program, &case), move || {
        // A test that failed before says nothing about this one.
        let mut loaded = loaded
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let outcome = loaded
            .run(program, &case.packet)
            .map_err(|error| format!("{error:#}"))?;
        case.judge(&outcome).map_err(Failed::from)
    })
}
