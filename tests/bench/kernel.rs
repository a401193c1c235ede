//! R1, R2 and R6: the programs themselves.

use hopzero::publisher::{Publisher, table::Capacity};
use hopzero_tests::{
    namespace::Namespace,
    packets::{
        build::{A, message, v4},
        kernel::Program,
    },
};

use crate::{
    cpu,
    figures::{Figures, Target},
    frames,
    generator::{Generator, Query},
    reflector,
    subject::{self, Hopzero},
    timing::Timing,
    verifier, world,
};

/// Measures everything.
pub fn measure(quick: bool, services: u32) -> anyhow::Result<Figures> {
    let namespace = Namespace::new("bench")?;
    namespace.within(|| measure_within(&namespace, quick, services))
}

fn measure_within(namespace: &Namespace, quick: bool, services: u32) -> anyhow::Result<Figures> {
    let (rounds, repeat, frames) = if quick {
        (7, 500_000, 500_000)
    } else {
        (11, 1_000_000, 1_000_000)
    };
    // A thread that moves leaves its soft interrupts behind, and they run beside it.
    cpu::pin_this_thread(cpu::CLIENT_CPU)?;
    println!("\nbuilding a zone of {services} services …");
    let mut hopzero = Hopzero::new(&world::zone(services)?)?;
    let mut generator = Generator::new()?;
    frames::prepare(namespace, &mut generator)?;

    let mut figures = Figures::default();
    verifier::measure(&mut hopzero, &mut figures)?;
    memory(&mut figures)?;
    let any = query(&world::name40(0), services);
    let mut any_tc = query(&world::name40(0), services);
    any_tc.packet[..6].copy_from_slice(&frames::TC_MAC);
    let queries = (&any, &any_tc);
    let many = (rounds, frames);
    reflector::measure(&mut hopzero, &mut generator, &mut figures, queries, many)?;
    let mut timing = Timing {
        generator: &mut generator,
        rounds,
        repeat,
    };
    packets(&mut hopzero, &mut timing, &mut figures, services)?;
    Ok(figures)
}

/// A query over IPv4 without EDNS.
pub fn query(name: &str, names: u32) -> Query {
    Query {
        packet: v4(&message(name, A)),
        names,
    }
}

/// A packet of R2: the figure, what it is, its target, and whether it is answered.
struct Packet {
    figure: &'static str,
    what: &'static str,
    target: Target,
    query: Query,
    answered: bool,
}

/// R2: ns over an empty program's.
fn packets(
    hopzero: &mut Hopzero,
    timing: &mut Timing,
    figures: &mut Figures,
    services: u32,
) -> anyhow::Result<()> {
    for kind in [Program::Xdp, Program::Tc] {
        let prefix = match kind {
            Program::Xdp => "",
            Program::Tc => "tc.",
        };
        let resizing = timing.resizing(kind, &query(&world::name40(7), 0))?;
        let program = hopzero.program(kind)?;
        for packet in r2(services) {
            timing.check(kind, &program, &packet.query, packet.answered)?;
            let overhead = if packet.answered { resizing } else { 0.0 };
            let programs = [program.try_clone()?];
            let runs = timing.over_empty(kind, &programs, &[&packet.query], overhead)?;
            let figure = format!("R2.{prefix}{}", packet.figure);
            figures.add(&figure, packet.what, "ns", packet.target, runs.concat());
        }
        figures.add(
            &format!("{prefix}resize"),
            "taken off the hits: the generator's cutting of what an answer grew",
            "ns",
            Target::None,
            vec![resizing],
        );
    }
    Ok(())
}

fn r2(services: u32) -> [Packet; 6] {
    let mut foreign = query(&world::name40(7), 0);
    // To port 443.
    foreign.packet[36..38].copy_from_slice(&443u16.to_be_bytes());
    [
        Packet {
            figure: "hit40",
            what: "one name of 40 bytes, A",
            target: Target::AtMost(45.0),
            query: query(&world::name40(7), 0),
            answered: true,
        },
        Packet {
            figure: "hit40_random",
            what: "random names of 40 bytes, A: cache misses included",
            target: Target::None,
            query: query(&world::name40(0), services),
            answered: true,
        },
        Packet {
            figure: "hit128",
            what: "a name of 128 bytes, A",
            target: Target::AtMost(65.0),
            query: query(&world::name128(), 0),
            answered: true,
        },
        Packet {
            figure: "nxdomain",
            what: "a search-path expansion that does not exist",
            target: Target::AtMost(60.0),
            query: query("www.example.com.benchmark-a.svc.cluster.local", 0),
            answered: true,
        },
        Packet {
            figure: "pass_dns",
            what: "a DNS query for a foreign name",
            target: Target::AtMost(40.0),
            query: query("www.example-of-a-foreign-names.com", 0),
            answered: false,
        },
        Packet {
            figure: "pass_foreign",
            what: "UDP to another port",
            target: Target::AtMost(10.0),
            query: foreign,
            answered: false,
        },
    ]
}

/// What a name costs in a cluster of 10,000 services and 100,000 endpoints.
fn memory(figures: &mut Figures) -> anyhow::Result<()> {
    let size = Publisher::measure(&world::mixed_zone()?);
    figures.add(
        "names.bytes",
        &format!(
            "a name's memory, index included, mean of {} names in a table of their size",
            size.names
        ),
        "bytes",
        Target::AtMost(200.0),
        vec![subject::per_name(
            size,
            Capacity::new(size.names, size.cells),
        )],
    );
    figures.add(
        "names.bytes_room",
        "the same with the daemon's room to grow, half as much again",
        "bytes",
        Target::None,
        vec![subject::per_name(size, subject::with_room(size))],
    );
    Ok(())
}
