//! What a name has said over time, and whether an answer was true at any moment at which it may have been made.
//!
//! ```text
//! state 1 ────────────────┤ acknowledged
//!          state 2  sent ├──────────────────────────┤ + LAG
//! time     ──────────────┴────┬──────────┬──────────┴───
//!                           asked ──→ answered      state 1 is wrong from here
//! ```
//! A state can be seen as soon as its request is sent, and no longer than [`LAG`] after that of the next one is
//! acknowledged. Nobody sees a state again after a later one.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// How long after a change its old state may be seen. Everything runs on two CPUs here, in debug builds.
pub const LAG: Duration = Duration::from_secs(5);

/// RCODE, and the addresses in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// RCODE
    pub rcode: u16,
    /// Those of the answer section.
    pub addresses: Vec<Ipv4Addr>,
}

struct Entry {
    state: State,
    sent: Instant,
    acknowledged: Option<Instant>,
}

/// All states of a name, the newest last.
#[derive(Default)]
pub struct History(Vec<Entry>);

/// What no state explains.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Before the answer came.
    #[error("no state says that")]
    NeverTrue,
    /// For so long it had been replaced when the query was sent.
    #[error("that was true once, {0:?} ago")]
    Stale(Duration),
    /// Older than what was seen.
    #[error("that was true before what has been seen already")]
    Backwards,
}

impl History {
    /// A request is about to be sent.
    pub fn sends(&mut self, state: State) {
        self.0.push(Entry {
            state,
            sent: Instant::now(),
            acknowledged: None,
        });
    }

    /// The API server has taken the newest.
    pub fn acknowledged(&mut self) {
        if let Some(entry) = self.0.last_mut() {
            entry.acknowledged = Some(Instant::now());
        }
    }

    /// What it should say in the end.
    pub fn last(&self) -> Option<&State> {
        self.0.last().map(|entry| &entry.state)
    }

    /// Judges an answer. `from` is the first state that may still be seen, and moves on. Returns how long it had been
    /// replaced when it was asked for, at the least.
    ///
    /// # Errors
    /// No state explains it.
    pub fn judge(
        &self,
        seen: &State,
        asked: Instant,
        answered: Instant,
        from: &mut usize,
    ) -> Result<Duration, Fault> {
        let told = (self.0.iter().enumerate())
            .filter(|(_, entry)| entry.state == *seen && entry.sent <= answered);
        let mut youngest = None;
        let mut fault = Fault::NeverTrue;
        for (index, _) in told {
            if index < *from {
                fault = Fault::Backwards;
                continue;
            }
            let replaced = (self.0.get(index + 1)).and_then(|next| next.acknowledged);
            let age = replaced.map_or(Duration::ZERO, |replaced| {
                asked.saturating_duration_since(replaced)
            });
            // A name is denied again and again: which of these states it was is not known.
            let (first, least) = youngest.unwrap_or((index, age));
            youngest = Some((first, least.min(age)));
        }
        let (first, age) = youngest.ok_or(fault)?;
        if age > LAG {
            return Err(Fault::Stale(age));
        }
        *from = first;
        Ok(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(last: u8) -> State {
        State {
            rcode: 0,
            addresses: vec![Ipv4Addr::new(10, 0, 0, last)],
        }
    }

    /// Three states, the first and the last of which are alike; five seconds apart.
    fn history(begin: Instant) -> History {
        let entry = |last, seconds| Entry {
            state: state(last),
            sent: begin + Duration::from_secs(seconds),
            acknowledged: Some(begin + Duration::from_secs(seconds)),
        };
        History(vec![entry(1, 0), entry(2, 5), entry(1, 20)])
    }

    #[test]
    fn verdicts() {
        let begin = Instant::now();
        let history = history(begin);
        let judge = |seen, seconds, mut from| {
            let at = begin + Duration::from_secs(seconds);
            let age = history.judge(&state(seen), at, at, &mut from);
            age.map(|age| (from, age.as_secs()))
        };
        assert_eq!(judge(1, 1, 0), Ok((0, 0)));
        assert_eq!(judge(1, 6, 0), Ok((0, 1)), "late, but not too late");
        assert_eq!(judge(2, 6, 0), Ok((1, 0)));
        assert_eq!(judge(2, 4, 0), Err(Fault::NeverTrue), "before it was sent");
        assert_eq!(judge(3, 6, 0), Err(Fault::NeverTrue));
        assert_eq!(judge(1, 6, 1), Err(Fault::Backwards));
        let age = Duration::from_secs(6);
        assert_eq!(judge(1, 11, 0), Err(Fault::Stale(age)));
        assert_eq!(judge(1, 21, 0), Ok((0, 0)), "either of two");
        assert_eq!(judge(1, 21, 1), Ok((2, 0)));
    }
}
