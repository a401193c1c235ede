//! Replies of two servers to the same queries, and what they differ by.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::{differences, question::Asked, reply::Seen};

/// Differences that are shown.
const SHOWN_MAX: usize = 10;

/// What was seen so far.
#[derive(Default)]
pub struct Comparison {
    queries: usize,
    known: BTreeMap<&'static str, usize>,
    unknown: usize,
    shown: Vec<String>,
}

impl Comparison {
    /// Both replies to one query.
    pub fn note(&mut self, asked: &Asked, theirs: &Seen, ours: &Seen) {
        self.queries += 1;
        if let Some(met) = differences::known(asked, theirs.clone(), ours.clone()) {
            for id in met {
                *self.known.entry(id).or_default() += 1;
            }
            return;
        }
        self.unknown += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown
                .push(format!("{asked}\n  CoreDNS {theirs}\n  hopzero {ours}"));
        }
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let Self {
            queries,
            known,
            unknown,
            ..
        } = self;
        format!("{queries} queries, {unknown} unknown differences; known: {known:?}")
    }

    /// # Errors
    /// There was a difference that has no page.
    pub fn end(&self) -> Result<()> {
        if self.unknown == 0 {
            return Ok(());
        }
        bail!(
            "{} of {} replies differ\n{}",
            self.unknown,
            self.queries,
            self.shown.join("\n")
        )
    }
}
