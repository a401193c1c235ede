//! R3: answers per CPU-second beside `CoreDNS`'s.
//!
//! Who is asked, and what counts as the server's side, is as for R4 ([`servers`](crate::servers)).

use std::net::SocketAddr;

use anyhow::Result;
use hopzero_tests::network::Network;

use crate::{
    figures::{Figures, Target},
    servers::{
        burst::{self, Load},
        contents,
    },
};

const R3: Target = Target::AtLeast(20.0);

/// Asks both in turns, at their addresses: hopzero's first.
pub fn measure(
    network: &Network,
    addresses: [SocketAddr; 2],
    services: u32,
    (rounds, seconds): (usize, u32),
    figures: &mut Figures,
) -> Result<()> {
    let queries = contents::queries(services);
    for address in addresses {
        burst::run(network, address, &queries, seconds)?;
    }
    let mut runs = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        println!("answers, round {} of {rounds} …", round + 1);
        let mut sums = [Load::default(), Load::default()];
        for which in [0, 1, 1, 0] {
            let load = burst::run(network, addresses[which], &queries, seconds)?;
            sums[which].add(&load);
        }
        for (runs, sum) in runs.iter_mut().zip(sums) {
            runs.push(sum);
        }
    }
    let of = |which: usize, of: fn(&Load) -> f64| runs[which].iter().map(of).collect::<Vec<f64>>();
    let per_cpu = |which: usize| of(which, Load::per_cpu_second);
    let ratio = per_cpu(0)
        .iter()
        .zip(per_cpu(1))
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    let what = "answers per CPU-second of the server's side / CoreDNS's";
    figures.add("R3", what, "ratio", R3, ratio);
    for (which, name) in ["hopzero", "coredns"].into_iter().enumerate() {
        let mut add = |suffix: &str, what: &str, unit, runs| {
            figures.add(
                &format!("R3.{name}{suffix}"),
                what,
                unit,
                Target::None,
                runs,
            );
        };
        add(
            "",
            "answers per CPU-second of the server's side",
            "1/s",
            per_cpu(which),
        );
        add(
            ".rate",
            "answers a second that the client got",
            "1/s",
            of(which, Load::per_second),
        );
        add(
            ".busy",
            "how much of its CPU the server's side took",
            "ratio",
            of(which, Load::busy),
        );
    }
    Ok(())
}
