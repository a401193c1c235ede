//! A device, and what is known of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::{Attached, foreign::Foreign, links::Pod};

/// After which a device on which nothing works, or that could not be tested, is tried again.
pub(super) const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A device that is to be attached to.
pub(in crate::kernel) struct Device {
    pub(super) name: String,
    pub(super) index: u32,
    /// The pod's device that it is; `None`: it was named on the command line.
    pub(super) pod: Option<Pod>,
    pub(super) attached: Option<Attached>,
    /// The link-layer address that the programs have to know for it, and whether its answers are limited.
    pub(super) mac: Option<([u8; 6], bool)>,
    pub(super) state: State,
    /// Modes that were not taken, each with the reason.
    pub(super) refused: Vec<String>,
    /// Other agents' programs, as of the last attachment or test.
    pub(super) others: Vec<Foreign>,
    /// When it was last tested or tried.
    pub(super) seen: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A query has come back.
    Active,
    /// It is attached, and why nothing more is known.
    Untested(&'static str),
    /// No mode works.
    Failed,
}

pub(super) const NOT_YET: &str = "not tested yet";

impl Device {
    pub(super) fn new(name: String, index: u32, pod: Option<Pod>) -> Self {
        Device {
            name,
            index,
            pod,
            attached: None,
            mac: None,
            state: State::Failed,
            refused: Vec::new(),
            others: Vec::new(),
            seen: Instant::now(),
        }
    }

    pub(super) fn bridge(&self) -> Option<[u8; 6]> {
        self.pod.as_ref()?.bridge
    }

    /// What is to be done first comes first; `None`: nothing.
    pub(super) fn urgency(&self) -> Option<u8> {
        match self.state {
            State::Untested(NOT_YET) => Some(0),
            State::Untested(_) | State::Failed if self.seen.elapsed() >= TRIED_AGAIN_AFTER => {
                Some(1)
            }
            State::Untested(_) | State::Failed | State::Active => None,
        }
    }

    pub(super) fn describe(&self, rate_limit: u32) -> Value {
        let mut device = json!({"device": self.name, "active": self.state == State::Active});
        if let Some(attached) = &self.attached {
            device["mode"] = json!(attached.mode.label());
            if attached.limited {
                device["rate_limit"] = json!(rate_limit);
            }
        }
        if let State::Untested(why) = self.state {
            device["untested"] = json!(why);
        }
        if !self.refused.is_empty() {
            device["refused"] = json!(self.refused);
        }
        if !self.others.is_empty() {
            let others: Vec<String> = self.others.iter().map(ToString::to_string).collect();
            device["others"] = json!(others);
        }
        device
    }
}
