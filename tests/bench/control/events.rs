//! R8: from an event of the API server to the changed answer of the kernel.
//!
//! ```text
//!  CPU 1: who writes the event and runs the program     CPU 0: hopzero
//!  event ──── lo (node) ───────────────────────────────── watch → zone → maps
//!  BPF_PROG_TEST_RUN of the program that hopzero has attached, until it answers with the new address
//! ```
//!
//! The clock starts when the event is about to be written to the connection of the watch, and stops when a query, made as
//! a pod's and run through the daemon's own program, has the new address in its answer. Events come at random times,
//! [`RATE`] a second: to services far from each other, each with another address; and to slices of headless services, of
//! which an endpoint moves.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    TestRun as _, TestRunOptions,
    programs::{SchedClassifier, loaded_programs},
};
use hopzero_tests::{
    client::{Query, rtype},
    network::Network,
    packets::build,
};

use super::{
    objects::{self, SERVICES, SLICES, Shape},
    ours::{self, Ours},
    scripted::{self, Lists, Scripted},
};
use crate::{
    cpu::{self, CLIENT_CPU, SERVER_CPU},
    figures::{Figures, Target},
    servers::directory,
    world,
};

/// Events a second.
const RATE: f64 = 1000.0;
const P50_MS: Target = Target::AtMost(1.0);
const P99_MS: Target = Target::AtMost(10.0);
/// Headless services beside the others, and their endpoints.
const HEADLESS: (u32, u32) = (1000, 10);
/// An event that has changed nothing after so long is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// `TC_ACT_REDIRECT`
const ANSWERED: u32 = 7;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Service,
    Endpoint,
}

/// An event that is not seen yet.
struct Pending {
    packet: Vec<u8>,
    address: [u8; 4],
    at: Instant,
}

/// Measures it.
pub fn measure(quick: bool, services: u32, figures: &mut Figures) -> Result<()> {
    let (rounds, events) = if quick { (3, 2000) } else { (7, 5000) };
    let shape = Shape {
        cluster_ip: services,
        headless: HEADLESS.0,
        endpoints: 0,
        headless_endpoints: HEADLESS.1,
    };
    println!(
        "\n{services} services and {} headless ones; starting hopzero …",
        HEADLESS.0
    );
    let network = Network::new()?;
    let directory = directory()?;
    let server = Scripted::start(&network.node, &shape, Lists::Streamed)?;
    let kubeconfig = ours::kubeconfig(&directory.path, server.address)?;
    let ours = Ours::start(&network, &directory.path, &kubeconfig, "")?;
    cpu::pin_this_thread(CLIENT_CPU)?;
    let mut eye = Eye::of(&ours)?;
    for (event, figure, what) in [
        (Event::Service, "R8", "a service's new address"),
        (
            Event::Endpoint,
            "R8.endpoint",
            "an endpoint of a headless service of ten moves",
        ),
    ] {
        let (mut p50, mut p99, mut max, mut busy) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let mut times = Vec::new();
            let cpu = cpu::busy_while(SERVER_CPU, || {
                // 1 to 15, none the same as the one before.
                let time = u8::try_from(round % 15 + 1)?;
                times = run(&server, &shape, &mut eye, event, events, time)?;
                Ok(())
            })?;
            times.sort_by(f64::total_cmp);
            p50.push(times[times.len() / 2]);
            p99.push(times[times.len() * 99 / 100]);
            max.push(times[times.len() - 1]);
            busy.push(cpu.busy / cpu.wall);
        }
        let mut add = |suffix: &str, of: &str, unit, target, runs| {
            figures.add(
                &format!("{figure}.{suffix}"),
                &format!("{of}: {what}"),
                unit,
                target,
                runs,
            );
        };
        add(
            "p50",
            "event to changed kernel answer, the median",
            "ms",
            P50_MS,
            p50,
        );
        add(
            "p99",
            "event to changed kernel answer, 99 of 100",
            "ms",
            P99_MS,
            p99,
        );
        add(
            "max",
            "event to changed kernel answer, the longest",
            "ms",
            Target::None,
            max,
        );
        add(
            "busy",
            "how much of its CPU hopzero took",
            "ratio",
            Target::None,
            busy,
        );
    }
    Ok(())
}

/// Milliseconds that each event took.
fn run(
    server: &Scripted,
    shape: &Shape,
    eye: &mut Eye,
    event: Event,
    events: u32,
    time: u8,
) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    let mut pending: Vec<Pending> = Vec::new();
    let mut due = Instant::now();
    for index in 0..events {
        // A Poisson process has exponential times between its events.
        due += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / RATE);
        while Instant::now() < due {
            eye.look(&mut pending, &mut times)?;
        }
        // A stride without a common factor with the number of services: far from each other, and each once.
        let (number, path, at, object, address) = match event {
            Event::Service => {
                let number = u32::try_from(u64::from(index) * 7919 % u64::from(shape.cluster_ip))?;
                let object = scripted::service(shape, number, time);
                (
                    number,
                    SERVICES,
                    number,
                    object,
                    objects::service_address(number, time),
                )
            }
            Event::Endpoint => {
                let at = index % shape.headless;
                let number = shape.cluster_ip + at;
                // The same one comes again and again: with an address of another time each.
                let time = u8::try_from(u32::from(time) * 3 + index / shape.headless)? % 64;
                let object = objects::slice(shape, number, time);
                (
                    number,
                    SLICES,
                    at,
                    object,
                    objects::endpoint_address(number, 0, time),
                )
            }
        };
        let packet = build::v4(&Query::new(world::name40(number), rtype::A).bytes());
        ensure!(
            !eye.sees(&packet, address)?,
            "the answer is there before the event"
        );
        let at_index = usize::try_from(at)?;
        let at = Instant::now();
        server.change(path, at_index, object)?;
        pending.push(Pending {
            packet,
            address,
            at,
        });
    }
    while !pending.is_empty() {
        eye.look(&mut pending, &mut times)?;
    }
    Ok(times)
}

/// Runs the program that the daemon has attached.
struct Eye {
    program: SchedClassifier,
    out: Vec<u8>,
}

impl Eye {
    fn of(ours: &Ours) -> Result<Self> {
        let kernel = ours.report()?.kernel.context("nothing is attached")?;
        let programs = kernel["programs"].as_array().context("no programs")?;
        let tc = programs
            .iter()
            .find(|program| program["name"] == "hopzero_tc");
        let id = tc
            .and_then(|program| program["id"].as_u64())
            .context("no hopzero_tc")?;
        let info = (loaded_programs().flatten()).find(|program| u64::from(program.id()) == id);
        let info = info.context("the program is not loaded")?;
        Ok(Self {
            program: SchedClassifier::from_program_info(info, Cow::Borrowed("hopzero_tc"))?,
            out: vec![0; 4096],
        })
    }

    /// Whether the query is answered with the address.
    fn sees(&mut self, packet: &[u8], address: [u8; 4]) -> Result<bool> {
        let run = self.program.test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut self.out),
            ..TestRunOptions::default()
        })?;
        let answer = self.out.get(packet.len()..run.data_size_out as usize);
        Ok(run.return_value == ANSWERED
            && answer.is_some_and(|answer| answer.windows(4).any(|bytes| bytes == address)))
    }

    /// Looks for all that is pending once.
    fn look(&mut self, pending: &mut Vec<Pending>, times: &mut Vec<f64>) -> Result<()> {
        let mut index = 0;
        while let Some(Pending {
            packet,
            address,
            at,
        }) = pending.get(index)
        {
            if self.sees(packet, *address)? {
                times.push(at.elapsed().as_secs_f64() * 1e3);
                pending.swap_remove(index);
                continue;
            }
            ensure!(
                at.elapsed() < PATIENCE,
                "an event has changed nothing: {address:?} is not answered to {packet:02x?}; {} more were seen",
                times.len()
            );
            index += 1;
        }
        Ok(())
    }
}
