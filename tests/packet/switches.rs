//! Hooks and zones that are switched off, in the loaded programs.

use anyhow::{Result, anyhow};
use hopzero::kernel::{HookSwitch, Switch, Target};
use hopzero_common::reason::Reason;
use hopzero_tests::{
    harness::Test,
    packets::{
        Case, Expect, answers, build,
        kernel::{Loaded, Program},
        world,
    },
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("switch: a hook", hooks),
        Test::new("switch: a zone", zones),
        Test::new("an answer that comes back is passed", fed_back),
    ]
}

fn judge(loaded: &mut Loaded, program: Program, case: &Case) -> Result<()> {
    let outcome = loaded.run(program, &case.packet)?;
    case.judge(&outcome).map_err(|error| anyhow!(error))
}

fn passes(case: &Case) -> Case {
    Case {
        expect: Expect::Pass(Reason::SwitchedOff),
        ..case.clone()
    }
}

fn hooks() -> Result<()> {
    let mut loaded = Loaded::new(&world::zone())?;
    let switches = loaded.kernel.switches();
    let switch = |on, hook| {
        let target = Target::Hook(hook);
        switches.set(&Switch { on, target })
    };
    for (hook, off, on) in [
        (HookSwitch::Xdp, Program::Xdp, Program::Tc),
        (HookSwitch::Tc, Program::Tc, Program::Xdp),
    ] {
        switch(false, hook)?;
        for case in answers::cases(world::zone()) {
            judge(&mut loaded, off, &passes(&case))?;
            judge(&mut loaded, on, &case)?;
        }
        switch(true, hook)?;
    }
    for case in answers::cases(world::zone()) {
        judge(&mut loaded, Program::Xdp, &case)?;
        judge(&mut loaded, Program::Tc, &case)?;
    }
    Ok(())
}

fn zones() -> Result<()> {
    let mut loaded = Loaded::new(&world::zone())?;
    let switches = loaded.kernel.switches();
    for zone in ["cluster.local", "in-addr.arpa", "ip6.arpa"] {
        for on in [false, true] {
            let target = Target::Zone(zone.to_owned());
            switches.set(&Switch { on, target })?;
            for case in answers::cases(world::zone()) {
                let is_below = zone.parse().is_ok_and(|zone: hickory_proto::rr::Name| {
                    zone.zone_of(&build::question_of(&case.packet))
                });
                let expected = if is_below && !on { passes(&case) } else { case };
                judge(&mut loaded, Program::Xdp, &expected)?;
                judge(&mut loaded, Program::Tc, &expected)?;
            }
        }
    }
    Ok(())
}

/// Whatever is turned round on the way: two nodes that are fed each other's answers fall silent.
fn fed_back() -> Result<()> {
    let mut loaded = Loaded::new(&world::zone())?;
    for case in answers::cases(world::zone()) {
        for case in [case.clone(), case.tagged()] {
            let Expect::Answer(answer) = &case.expect else {
                continue;
            };
            for packet in build::fed_back(answer) {
                for program in [Program::Xdp, Program::Tc] {
                    let outcome = loaded.run(program, &packet)?;
                    anyhow::ensure!(
                        !outcome.answered && outcome.packet == packet,
                        "{program:?}: {}: {:?}",
                        case.name,
                        outcome.reason
                    );
                }
            }
        }
    }
    Ok(())
}
