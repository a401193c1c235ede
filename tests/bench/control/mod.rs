//! The control plane's figures.
//!
//! | file | figures |
//! |---|---|
//! | [`events`] | R8: from an event to the changed answer of the kernel |
//! | [`relists`] | R9: memory while everything is listed again |
//! | [`beside`] | R9: memory beside `CoreDNS`'s, at one real API server; with it: |
//! | [`answers`] | R3: answers per CPU-second beside `CoreDNS`'s |
//! | [`load`] | what a node costs the API server |

mod answers;
mod beside;
mod events;
mod load;
mod memory;
mod objects;
mod ours;
mod plane;
mod proxy;
mod relists;
mod report;
mod scripted;

use std::path::Path;

use anyhow::Result;
use beside::Programs;

use crate::figures::Figures;

/// A part of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// R8
    Events,
    /// R9, the peak
    Relists,
    /// R3, R9 and the load on the API server
    Beside,
}

/// Measures all, or one part.
pub fn measure(
    quick: bool,
    services: u32,
    part: Option<Part>,
    coredns: Option<&Path>,
    plane: Option<&Path>,
) -> Result<Figures> {
    let mut figures = Figures::default();
    let is_wanted = |which: Part| part.is_none_or(|part| part == which);
    if is_wanted(Part::Events) {
        events::measure(quick, services, &mut figures)?;
    }
    if is_wanted(Part::Relists) {
        relists::measure(quick, &mut figures)?;
    }
    if is_wanted(Part::Beside) {
        if let (Some(coredns), Some(plane)) = (coredns, plane) {
            beside::measure(quick, &Programs { coredns, plane }, &mut figures)?;
        } else {
            let why =
                "--coredns and --cluster name no programs: `cargo xtask bench control` builds them";
            figures.skip("R3", "answers per CPU-second beside CoreDNS's", why);
            figures.skip("R9", "memory beside CoreDNS's", why);
        }
    }
    Ok(figures)
}
