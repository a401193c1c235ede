//! The limit of answers to a network, in the loaded programs and on the kernel's clock.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use aya::maps::HashMap;
use hopzero_common::{limits::NETWORKS_MAX, reason::Reason};
use hopzero_tests::{
    harness::Test,
    packets::{
        Expect, answers,
        build::{A, CLIENT_PORT, SERVER_V4, message, packet},
        kernel::{Loaded, Program},
        limited, world,
    },
};

/// More networks than there is room for.
const NETWORKS: u32 = 70_000;
/// So often a case may meet the moment in which its network has an answer to spend again.
const ATTEMPTS: u32 = 5;

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("limit: over it an answer is TC=1 alone", over),
        Test::new(
            "limit: a second's worth at once, and the rate from then on",
            rate,
        ),
        Test::new(
            "limit: networks that come forget others, and take no room",
            bounded,
        ),
    ]
}

/// Every case that counts, right after its network was denied an answer; tc goes on as ever.
fn over() -> Result<()> {
    let mut loaded = Loaded::limited(1)?;
    let denied = limited::denied();
    let mut counted = 0;
    for case in answers::cases(world::zone()) {
        let over = limited::limited(&case);
        let mut attempt = 0;
        loop {
            // Both networks have nothing left.
            for query in &denied.queries {
                while loaded.run(Program::Xdp, query)?.reason != Reason::Limited {}
            }
            let outcome = loaded.run(Program::Xdp, &case.packet)?;
            attempt += 1;
            if attempt < ATTEMPTS && over.judge(&outcome).is_err() && case.judge(&outcome).is_ok() {
                continue;
            }
            over.judge(&outcome).map_err(|error| anyhow!(error))?;
            break;
        }
        counted += u32::from(matches!(over.expect, Expect::Limited(_)));
        let outcome = loaded.run(Program::Tc, &case.packet)?;
        case.judge(&outcome).map_err(|error| anyhow!(error))?;
    }
    ensure!(counted > 100, "{counted}");
    // Another network is not concerned.
    for stranger in &denied.strangers {
        ensure!(loaded.run(Program::Xdp, stranger)?.reason == Reason::Answered);
    }
    for neighbour in &denied.neighbours {
        ensure!(loaded.run(Program::Xdp, neighbour)?.reason == Reason::Limited);
    }
    Ok(())
}

fn rate() -> Result<()> {
    const RATE: u32 = 50;
    const SECONDS: f64 = 2.0;
    let mut loaded = Loaded::limited(RATE)?;
    let query = &limited::denied().queries[0];
    let (mut answered, mut asked) = (0_u32, 0_u32);
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < SECONDS {
        asked += 1;
        answered += u32::from(loaded.run(Program::Xdp, query)?.reason == Reason::Answered);
    }
    let elapsed = started.elapsed().as_secs_f64();
    // The bucket is full at first.
    let expected = f64::from(RATE) * (1.0 + elapsed);
    println!("{asked} queries in {elapsed:.2} s: {answered} answered, {expected:.0} expected");
    ensure!(asked > 2 * answered, "too slow to say anything");
    ensure!((f64::from(answered) - expected).abs() < 5.0);
    Ok(())
}

fn bounded() -> Result<()> {
    let mut loaded = Loaded::limited(1)?;
    let message = message("nothing.shop.svc.cluster.local", A);
    let from = |network: u32| {
        let source = Ipv4Addr::from(0x0b00_0001 + (network << 8));
        let server = IpAddr::V4(SERVER_V4);
        packet(source.into(), server, CLIENT_PORT, 53, &message)
    };
    let mut out = vec![0; 2048];
    let started = Instant::now();
    for network in 0..NETWORKS {
        let (action, len) = loaded.run_raw(Program::Xdp, &from(network), &mut out)?;
        // NXDOMAIN, and not TC.
        ensure!(action == 3 && out[44..len][0] & 2 == 0, "network {network}");
    }
    let elapsed = started.elapsed();
    ensure!(elapsed < Duration::from_mins(1), "{elapsed:?}");
    let Some(map) = loaded.kernel.ebpf().map("NETWORKS") else {
        anyhow::bail!("there is no NETWORKS");
    };
    let known = HashMap::<_, u64, u64>::try_from(map)?.keys().count();
    println!("{NETWORKS} networks in {elapsed:?}, {known} known");
    ensure!(known > NETWORKS_MAX / 2 && known <= NETWORKS_MAX, "{known}");
    Ok(())
}
