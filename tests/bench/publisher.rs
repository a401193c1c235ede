//! How fast the daemon's publisher writes the maps of loaded programs.
//!
//! A record update is a name whose record was written, replaced or removed. A change touches more
//! names than that (the empty ones of reverse zones, which the kernel does not keep), and they cost time
//! too, but do not count: which did is found out by a table of our own that follows.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use hopzero::{
    publisher::{
        encode::Encoder,
        table::{Put, Table},
    },
    source::Change,
    zone::{OwnerName, Zone},
};

use crate::{
    cpu,
    figures::{Figures, Target},
    subject::{Hopzero, with_room},
    world,
};

/// Changes of a batch.
const BATCH: u32 = 1000;
/// What batches are to reach, updates a second.
const RATE: Target = Target::AtLeast(500_000.0);
/// When changes come, Unix time.
const NOW: u32 = 1_700_000_000;

/// A kind of change: its figures, what it is, its changes of a round, and its target.
struct Workload {
    figure: &'static str,
    what: &'static str,
    /// Changes by services of the zone and the round.
    changes: fn(u32, u8) -> Vec<Change>,
    target: Target,
    /// How often a round does it, each time with another version.
    times: u8,
}

const WORKLOADS: [Workload; 3] = [
    Workload {
        figure: "endpoint",
        what: "one change a batch: an endpoint of a headless service of ten moves",
        changes: |services, version| world::headless(services, version).to_vec(),
        target: Target::None,
        times: 100,
    },
    Workload {
        figure: "endpoints_1000",
        what: "1,000 changes a batch, each an endpoint of another service",
        changes: |services, version| {
            let numbers = services..services + BATCH;
            numbers
                .flat_map(|number| world::headless(number, version))
                .collect()
        },
        target: RATE,
        times: 1,
    },
    Workload {
        figure: "services_1000",
        what: "1,000 changes a batch, each the address of another ClusterIP service",
        changes: |services, version| {
            // Far from each other, as a cluster's changes are.
            let numbers = (0..BATCH).map(|number| number * (services / BATCH));
            numbers
                .map(|number| world::readdressed(number, version))
                .collect()
        },
        target: RATE,
        times: 1,
    },
];

/// Measures full publishing, then changes.
pub fn measure(quick: bool, services: u32) -> anyhow::Result<Figures> {
    let rounds = if quick { 5 } else { 15 };
    cpu::pin_this_thread(cpu::CLIENT_CPU)?;
    println!("\nbuilding a zone of {services} services …");
    let mut zone = world::zone(services)?;
    let headless = (services..services + BATCH).flat_map(|number| world::headless(number, 0));
    zone.apply(headless.collect(), NOW);
    let mut figures = Figures::default();
    full(&zone, if quick { 3 } else { 7 }, &mut figures)?;

    let mut hopzero = Hopzero::new(&zone)?;
    let mut shadow = Shadow::new(&zone, &hopzero);
    for workload in &WORKLOADS {
        let (mut rounds_of, mut version) = (Rounds::default(), 0);
        for round in 0..rounds {
            let mut sum = Round::default();
            for _ in 0..workload.times {
                // 1 to 15, none the same as the one before.
                version = version % 15 + 1;
                let changes = (workload.changes)(services, version);
                let started = Instant::now();
                let touched = zone.apply(changes, NOW + u32::from(version));
                sum.apply += started.elapsed();
                sum.updates += shadow.follow(&zone, &touched);
                sum.names += touched.len();
                // The second to go finds the caches warm: they take turns.
                if round % 2 == 0 {
                    sum.parts(&zone, &touched);
                }
                let started = Instant::now();
                hopzero.loaded.kernel.publisher.publish(&zone, &touched);
                sum.publish += started.elapsed();
                if round % 2 == 1 {
                    sum.parts(&zone, &touched);
                }
            }
            rounds_of.add(&sum);
        }
        rounds_of.figures(workload, &mut figures);
    }
    resync(&mut zone, &mut hopzero, services, &mut figures)?;
    Ok(figures)
}

/// The longest time between two calls of a function.
struct Steps {
    last: Instant,
    longest: Duration,
}

impl Steps {
    fn new() -> Self {
        Steps {
            last: Instant::now(),
            longest: Duration::ZERO,
        }
    }

    fn step(&mut self) {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
    }
}

/// Every service changes in one batch. What counts is how long the thread that applies it is without a sign of life: the
/// lease must be longer.
fn resync(
    zone: &mut Zone,
    hopzero: &mut Hopzero,
    services: u32,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (mut took, mut longest) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for version in 1..=3 {
        let changes = (0..services).map(|number| world::readdressed(number, version));
        let changes = changes.collect();
        let started = Instant::now();
        let mut steps = Steps::new();
        let touched = zone.apply_with(changes, NOW, &mut || steps.step());
        steps.step();
        took[0].push(started.elapsed().as_secs_f64());
        longest[0].push(steps.longest.as_secs_f64() * 1e3);
        let started = Instant::now();
        let mut steps = Steps::new();
        let publisher = &mut hopzero.loaded.kernel.publisher;
        if publisher
            .try_publish(zone, &touched, &mut || steps.step())
            .is_err()
        {
            publisher.publish_each(zone, &touched, &mut || steps.step());
        }
        steps.step();
        took[1].push(started.elapsed().as_secs_f64());
        longest[1].push(steps.longest.as_secs_f64() * 1e3);
    }
    let what = ["to the zone", "to the tables"];
    for (((part, what), took), longest) in
        ["apply", "publish"].iter().zip(what).zip(took).zip(longest)
    {
        let name = format!("publisher.resync.{part}");
        let text = format!("all services change at once: {what}, seconds");
        figures.add(&name, &text, "s", Target::None, took);
        let text = "of it: the longest step without a renewal of the lease, ms";
        figures.add(&format!("{name}.step"), text, "ms", Target::None, longest);
    }
    Ok(())
}

/// Every name of the zone, each time into new maps.
fn full(zone: &Zone, rounds: usize, figures: &mut Figures) -> anyhow::Result<()> {
    let (mut rates, mut ns) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut hopzero = Hopzero::empty(zone)?;
        let publisher = &mut hopzero.loaded.kernel.publisher;
        let started = Instant::now();
        publisher.publish_all(zone);
        let seconds = started.elapsed().as_secs_f64();
        let names = f64::from(publisher.table().names());
        rates.push(names / seconds);
        ns.push(seconds / names * 1e9);
    }
    let what = "records a second, all names of the zone into new maps";
    figures.add("publisher.full", what, "1/s", Target::None, rates);
    figures.add(
        "publisher.full.ns",
        "the same, ns a record",
        "ns",
        Target::None,
        ns,
    );
    Ok(())
}

/// A table in this process that holds what the maps hold, to see which records a change changes.
struct Shadow {
    table: Table,
    encoder: Encoder,
}

impl Shadow {
    fn new(zone: &Zone, hopzero: &Hopzero) -> Self {
        let mut shadow = Shadow {
            table: Table::heap(with_room(hopzero.size), 1),
            encoder: Encoder::default(),
        };
        let names: Vec<OwnerName> = zone.owners().collect();
        shadow.follow(zone, &names);
        shadow
    }

    /// Records that these names' state changes.
    fn follow(&mut self, zone: &Zone, touched: &[OwnerName]) -> usize {
        let changed = touched.iter().filter(|name| {
            if let Some(record) = self.encoder.encode_held(zone, 0, name, &zone.held(name).1) {
                return self.table.put(&record) == Put::Written;
            }
            let before = self.table.names();
            self.table.remove(self.encoder.words_of_owner(name));
            self.table.names() != before
        });
        changed.count()
    }
}

/// What one round took.
#[derive(Default)]
struct Round {
    updates: usize,
    names: usize,
    apply: Duration,
    publish: Duration,
    held: Duration,
    encode: Duration,
}

impl Round {
    /// Times the publisher's parts by themselves, on the same names, one name after the other as it does.
    fn parts(&mut self, zone: &Zone, touched: &[OwnerName]) {
        let started = Instant::now();
        for name in touched {
            black_box(zone.held(name));
        }
        let held = started.elapsed();

        let mut encoder = Encoder::default();
        let started = Instant::now();
        for name in touched {
            if (encoder.encode_held(zone, 0, name, &zone.held(name).1)).is_none() {
                black_box(encoder.words_of_owner(name));
            }
        }
        self.encode += started.elapsed().saturating_sub(held);
        self.held += held;
    }
}

/// Figures of all rounds.
#[derive(Default)]
struct Rounds {
    rate: Vec<f64>,
    /// With the changes applied to the zone.
    whole: Vec<f64>,
    /// Names that are touched for each record that changes.
    names: Vec<f64>,
    /// ns of an update: apply, publish; and of the latter what the zone holds, encode, the rest.
    ns: [Vec<f64>; 5],
}

impl Rounds {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn add(&mut self, round: &Round) {
        let updates = round.updates as f64;
        self.rate.push(updates / round.publish.as_secs_f64());
        let both = round.apply + round.publish;
        self.whole.push(updates / both.as_secs_f64());
        self.names.push(round.names as f64 / updates);
        let ns = |time: Duration| time.as_secs_f64() * 1e9 / updates;
        let (publish, held, encode) = (ns(round.publish), ns(round.held), ns(round.encode));
        let rest = publish - held - encode;
        let all = [ns(round.apply), publish, held, encode, rest];
        for (runs, ns) in self.ns.iter_mut().zip(all) {
            runs.push(ns);
        }
    }

    fn figures(self, workload: &Workload, figures: &mut Figures) {
        let name = format!("publisher.{}", workload.figure);
        let what = format!("record updates a second, {}", workload.what);
        figures.add(&name, &what, "1/s", workload.target, self.rate);
        let mut add = |part: &str, what: &str, unit, runs| {
            figures.add(&format!("{name}.{part}"), what, unit, Target::None, runs);
        };
        add(
            "whole",
            "the same, with applying the changes to the zone",
            "1/s",
            self.whole,
        );
        add(
            "names",
            "names touched for each record that changes",
            "names",
            self.names,
        );
        let [apply, publish, held, encode, rest] = self.ns;
        add(
            "ns",
            "publishing, ns for each record that changes",
            "ns",
            publish,
        );
        add(
            "held",
            "of it: what the zone holds of the names",
            "ns",
            held,
        );
        add("encode", "of it: from that to a record", "ns", encode);
        add(
            "rest",
            "of it: finding and writing the entry and the cells; caches that are cold",
            "ns",
            rest,
        );
        add(
            "apply",
            "before it: applying the change to the zone",
            "ns",
            apply,
        );
    }
}
