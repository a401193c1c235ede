//! R10: the time of a hit must not grow with the number of names.
//!
//! All tables are there at once and take turns, so that what is compared was measured in the same minute. Names are
//! asked at random: a large table pays for what no cache holds any more, which is what R10 is about.

use hopzero_tests::packets::kernel::Program;

use crate::{
    cpu,
    figures::{Figures, Target},
    generator::Generator,
    kernel::query,
    subject::Hopzero,
    timing::Timing,
    world,
};

/// Names that are asked, and what their number is called.
const SIZES: [(u32, &str); 4] = [
    (1_000, "1k"),
    (10_000, "10k"),
    (100_000, "100k"),
    (1_000_000, "1m"),
];

/// Measures both hooks.
pub fn measure(quick: bool) -> anyhow::Result<Figures> {
    let (rounds, repeat) = if quick { (5, 300_000) } else { (9, 1_000_000) };
    let mut figures = Figures::default();
    let mut tables = Vec::new();
    cpu::pin_this_thread(cpu::CLIENT_CPU)?;
    println!();
    for (names, label) in SIZES {
        println!("building a zone of {names} services …");
        let hopzero = Hopzero::new(&world::plain_zone(names)?)?;
        figures.add(
            &format!("R10.bytes_{label}"),
            &format!(
                "memory of each of the table's {} names, index included",
                hopzero.size.names
            ),
            "bytes",
            Target::None,
            vec![hopzero.bytes_per_name()],
        );
        tables.push(hopzero);
    }
    let mut generator = Generator::new()?;
    let mut timing = Timing {
        generator: &mut generator,
        rounds,
        repeat,
    };
    for kind in [Program::Xdp, Program::Tc] {
        growth(kind, &mut tables, &mut timing, &mut figures)?;
    }
    Ok(figures)
}

fn growth(
    kind: Program,
    tables: &mut [Hopzero],
    timing: &mut Timing,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let prefix = match kind {
        Program::Xdp => "R10.",
        Program::Tc => "R10.tc.",
    };
    let queries = SIZES.map(|(names, _)| query(&world::name40(0), names));
    let programs: Vec<_> = (tables.iter_mut())
        .map(|hopzero| hopzero.program(kind))
        .collect::<Result<_, _>>()?;
    for (program, query) in programs.iter().zip(&queries) {
        timing.check(kind, program, query, true)?;
    }
    let resizing = timing.resizing(kind, &query(&world::name40(0), 0))?;
    let queries: Vec<_> = queries.iter().collect();
    let runs = timing.over_empty(kind, &programs, &queries, resizing)?;
    for ((names, label), runs) in SIZES.iter().zip(&runs) {
        figures.add(
            &format!("{prefix}hit_{label}"),
            &format!("a hit on a random one of {names} names of 40 bytes, A"),
            "ns",
            Target::None,
            runs.clone(),
        );
    }
    for (size, (_, label)) in SIZES.iter().enumerate().skip(1) {
        let ratios = (runs[size].iter().zip(&runs[0])).map(|(large, small)| large / small);
        figures.add(
            &format!("{prefix}hit_{label}_over_1k"),
            "how many times as long as with 1,000 names",
            "ratio",
            Target::AtMost(2.0),
            ratios.collect(),
        );
    }
    Ok(())
}
