//! R1: answers a second beside a reflector's, on frames that the kernel makes.
//!
//! The reflector swaps the link-layer addresses and sends the frame back: the least that a responder at
//! the same hook does. Both are called by the same generator, which writes a query into each frame, so
//! the ratio contains, above and below the line, all that is not the program: making the frame, writing
//! the query, the way to the hook and the way out. At XDP that way is a redirected frame and a frame
//! that is swallowed. At tc it is what a pod's packet costs its node: an skb is made of the frame (in
//! NAPI, through GRO; a pod's own packet is an skb already), it goes to the hook, is redirected to the
//! other end of the veth, and is swallowed at its hook. So R1 for tc is nearer to 1 for the same program:
//! `over_ns` is what the program costs beyond the reflector, and is what compares.

use hopzero_tests::packets::kernel::Program;

use crate::{
    figures::{Figures, Target},
    frames::{self, Way},
    generator::{Generator, Query},
    subject::Hopzero,
};

/// What R1 is to reach.
const R1: Target = Target::AtLeast(0.65);

/// What is run in turns: its figure, what the figure is, the program that is called (hopzero's if it
/// is none of ours), and the way that frames go.
struct Turn {
    figure: &'static str,
    what: &'static str,
    called: Option<&'static str>,
    way: Way,
}

/// XDP: the third turn has no generator.
const XDP: [Turn; 3] = [
    Turn {
        figure: "R1.answers",
        what: "answers a second on one CPU",
        called: None,
        way: Way::Xdp("bench_xdp"),
    },
    Turn {
        figure: "R1.reflected_written",
        what: "reflected frames a second, rewritten",
        called: Some("bench_reflect"),
        way: Way::Xdp("bench_xdp"),
    },
    Turn {
        figure: "R1.reflected_bare",
        what: "reflected frames a second",
        called: Some("bench_reflect"),
        way: Way::Xdp("bench_reflect"),
    },
];

/// tc: the third turn has no way back.
const TC: [Turn; 3] = [
    Turn {
        figure: "R1.tc.answers",
        what: "answers a second on one CPU",
        called: None,
        way: Way::Tc,
    },
    Turn {
        figure: "R1.tc.reflected",
        what: "reflected frames a second, rewritten",
        called: Some("bench_reflect_tc"),
        way: Way::Tc,
    },
    Turn {
        figure: "R1.tc.swallowed",
        what: "frames a second that are swallowed at the hook: the generator and the way to it",
        called: Some("bench_drop_tc"),
        way: Way::TcSwallowed,
    },
];

/// Measures both hooks.
pub fn measure(
    hopzero: &mut Hopzero,
    generator: &mut Generator,
    figures: &mut Figures,
    (xdp, tc): (&Query, &Query),
    (rounds, frames): (u32, u32),
) -> anyhow::Result<()> {
    for (kind, turns, query) in [(Program::Xdp, XDP, xdp), (Program::Tc, TC, tc)] {
        generator.write(query)?;
        let mut frames_per_second = |turn: &Turn, frames| {
            let program = match turn.called {
                Some(name) => generator.own(name)?,
                None => hopzero.program(kind)?,
            };
            generator.call(kind, &program)?;
            frames::per_second(generator, turn.way, query, frames)
        };
        // Not timed: it warms caches and the page pool.
        frames_per_second(&turns[0], frames / 10)?;
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..rounds {
            let mut seconds = [0.0; 3];
            for which in [0, 1, 2, 2, 1, 0] {
                // Times add up, rates do not.
                seconds[which] += 0.5 / frames_per_second(&turns[which], frames)?;
            }
            for (rates, seconds) in rates.iter_mut().zip(seconds) {
                rates.push(1.0 / seconds);
            }
        }
        add(figures, kind, &turns, &rates);
    }
    Ok(())
}

fn add(figures: &mut Figures, kind: Program, turns: &[Turn; 3], rates: &[Vec<f64>; 3]) {
    let pairs = |of: fn(f64, f64) -> f64, with: usize| {
        let pairs = rates[0].iter().zip(&rates[with]);
        pairs.map(|(ours, theirs)| of(*ours, *theirs)).collect()
    };
    let ratio = |ours, theirs| ours / theirs;
    let beyond = |ours: f64, theirs: f64| (1.0 / ours - 1.0 / theirs) * 1e9;
    let (r1, over) = match kind {
        Program::Xdp => ("R1", "R1.over_ns"),
        Program::Tc => ("R1.tc", "R1.tc.over_ns"),
    };
    let what =
        "answers a second / a MAC-swap reflector's, both on frames that the generator rewrites";
    figures.add(r1, what, "ratio", R1, pairs(ratio, 1));
    if kind == Program::Xdp {
        let what = "the same / the reflector on frames that nobody rewrites";
        figures.add("R1.bare", what, "ratio", Target::None, pairs(ratio, 2));
    }
    let what = "what an answer takes longer than a reflected frame";
    figures.add(over, what, "ns", Target::None, pairs(beyond, 1));
    for (turn, rates) in turns.iter().zip(rates) {
        figures.add(turn.figure, turn.what, "1/s", Target::None, rates.clone());
    }
}
