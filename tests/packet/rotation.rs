//! Rotation, by the loaded programs' own random numbers.

use anyhow::{Result, anyhow, ensure};
use hopzero_tests::packets::{
    Case, Expect,
    build::{A, AAAA, message, v4, v6, with_opt},
    kernel::{Loaded, Program},
    rotation, world,
};

/// Answers for each address, on average.
const EACH: usize = 200;
/// The mean, less or more six standard deviations.
const LEAST: usize = EACH - 6 * 14;
const MOST: usize = EACH + 6 * 14;

/// Each address comes first as often as any other, whoever asks for what in between; everything else
/// stays as it is.
pub fn is_even(program: Program, cases: &[Case]) -> Result<()> {
    let mut loaded = Loaded::new(&world::zone())?;
    loaded.kernel.rotate(true);
    for case in cases {
        let case = Case {
            expect: match case.expect.clone() {
                Expect::Answer(packet) => Expect::Rotated(packet),
                other => other,
            },
            ..case.clone()
        };
        let outcome = loaded.run(program, &case.packet)?;
        case.judge(&outcome).map_err(|error| anyhow!(error))?;
    }

    let question = |name: &str, qtype: u16| {
        let name = format!("{name}.shop.svc.cluster.local");
        with_opt(message(&name, qtype), 1232, false, &[])
    };
    // In turns, as clients ask for both families: a counter would show each of them every other address only.
    let packets = [
        v4(&question("db", A)),
        v4(&question("db", AAAA)),
        v6(&question("to-db", A)),
        v6(&question("to-db", AAAA)),
        v4(&question("crowd", A)),
        v4(&question("to-crowd", A)),
    ];
    loaded.kernel.rotate(false);
    let mut names = Vec::new();
    for packet in packets {
        let expected = loaded.run(program, &packet)?.packet;
        let addresses = rotation::Addresses::of(&expected);
        let count = addresses.map_or(0, |addresses| addresses.count());
        names.push((packet, expected, vec![0; count]));
    }
    loaded.kernel.rotate(true);
    let mut out = vec![0; 4096];
    for _ in 0..60 * EACH {
        for (packet, expected, seen) in &mut names {
            if seen.iter().sum::<usize>() == seen.len() * EACH {
                continue;
            }
            let (_, len) = loaded.run_raw(program, packet, &mut out)?;
            let first = rotation::first(expected, &out[..len]);
            seen[first.ok_or_else(|| anyhow!("not rotated, but changed"))?] += 1;
        }
    }
    for (number, (_, _, seen)) in names.iter().enumerate() {
        let even = seen.iter().all(|times| (LEAST..=MOST).contains(times));
        ensure!(even && seen.len() > 1, "question {number}: {seen:?}");
    }
    Ok(())
}
