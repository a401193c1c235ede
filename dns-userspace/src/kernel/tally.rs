//! The programs' answers as metrics count them: under the server and the zone that they would have come to.
//!
//! The programs know of zones only. Which server block one belongs to changes with the configuration, and the zones change
//! with the programs; so when either does, what was counted until then is settled under the old names.

use hickory_proto::{op::ResponseCode, rr::Name};
use hopzero_common::counter::{Answer, Hook};

use super::counters::Counts;
use crate::plugin::prometheus::{Answered, Owners};

/// What was answered since the start.
#[derive(Default)]
pub(super) struct Tally {
    settled: Vec<Answered>,
    /// Of the counters, what is settled.
    settled_counts: Counts,
    /// The programs' zones, by their places.
    zones: Vec<(usize, Name)>,
    owners: Owners,
}

impl Tally {
    /// Other owners from now on, at which the programs have counted so much.
    pub fn own(&mut self, owners: Owners, now: &Counts) {
        self.settle(now);
        self.settled_counts = now.clone();
        self.owners = owners;
    }

    /// Other programs from now on, which have counted nothing yet; those before them have counted so much.
    pub fn load(&mut self, zones: Vec<(usize, Name)>, before: &Counts) {
        self.settle(before);
        self.settled_counts = Counts::default();
        self.zones = zones;
    }

    /// All that was answered, now that the programs have counted so much.
    pub fn answered(&self, now: &Counts) -> Vec<Answered> {
        let mut all = self.settled.clone();
        for (answer, count) in now.since(&self.settled_counts).answers() {
            let answered = self.name(answer, count);
            match all.iter_mut().find(|known| known.is_like(&answered)) {
                Some(known) => known.count += count,
                None => all.push(answered),
            }
        }
        all
    }

    /// What of the present programs' counters is settled.
    pub fn settled_counts(&self) -> &Counts {
        &self.settled_counts
    }

    fn settle(&mut self, now: &Counts) {
        self.settled = self.answered(now);
    }

    fn name(&self, answer: Answer, count: u64) -> Answered {
        let place = answer.zone;
        let zone = self.zones.iter().find(|(at, _)| Some(*at) == place);
        let owners = match zone {
            Some((_, zone)) => self.owners.iter().find(|(apex, _)| apex == zone),
            // A zone that the programs have no place for, nearly always a reverse one: one of the last.
            None => self.owners.last(),
        };
        let owner = owners.and_then(|(_, of_families)| of_families[usize::from(answer.v6)].clone());
        Answered {
            hook: match answer.hook {
                Hook::Tc => "tc",
                Hook::Xdp => "xdp",
            },
            owner,
            is_ipv6: answer.v6,
            dnssec_ok: answer.dnssec_ok,
            rtype: answer.qtype.map(Into::into),
            rcode: if answer.nxdomain {
                ResponseCode::NXDomain
            } else {
                ResponseCode::NoError
            },
            count,
        }
    }
}

#[cfg(test)]
mod tests {
    use hopzero_common::{counter, layout::Scratch, limits::ZONES_MAX, reason::Reason};

    use super::*;
    use crate::plugin::prometheus::Owner;

    /// The place of A queries over IPv4 in a zone, answered at tc.
    fn place(zone: usize) -> usize {
        let mut scratch = Scratch::new();
        scratch.record[1] = (zone as u64) << 8;
        scratch.query.qtype = 1;
        counter::place(Hook::Tc, Reason::Answered, &scratch)
    }

    fn owners(server: &str, zones: &[&str]) -> Owners {
        let owned = |zone: &&str| {
            let owner = Owner {
                server: server.into(),
                zone: ".".to_owned(),
            };
            (Name::from_ascii(zone).unwrap(), [Some(owner), None])
        };
        zones.iter().map(owned).collect()
    }

    fn counts(tally: &Tally, now: &Counts) -> Vec<(Option<String>, u64)> {
        let all = tally.answered(now).into_iter();
        let server = |owner: Owner| owner.server.to_string();
        all.map(|answered| (answered.owner.map(server), answered.count))
            .collect()
    }

    #[test]
    fn what_was_counted_stays_under_the_names_that_it_had() {
        let (first, last) = (ZONES_MAX - 2, ZONES_MAX - 1);
        let zone = |text: &str| Name::from_ascii(text).unwrap();
        let all = ["cluster.local.", "arpa."];
        let some = |server: &str, count| (Some(server.to_owned()), count);
        let mut tally = Tally::default();
        tally.own(owners("one", &all), &Counts::default());
        tally.load(
            vec![(first, zone("cluster.local.")), (last, zone("arpa."))],
            &Counts::default(),
        );
        let now = Counts::of(&[(place(first), 3), (place(last), 4)]);
        assert_eq!(counts(&tally, &now), [some("one", 7)]);
        // Another configuration: the same zones are another server's.
        tally.own(owners("two", &all), &now);
        assert_eq!(counts(&tally, &now), [some("one", 7)]);
        let now = Counts::of(&[(place(first), 5), (place(last), 4)]);
        assert_eq!(counts(&tally, &now), [some("one", 7), some("two", 2)]);
        // Other programs, which begin with nothing, and have the zones at other places.
        tally.load(vec![(last, zone("cluster.local."))], &now);
        let now = Counts::of(&[(place(last), 10)]);
        assert_eq!(counts(&tally, &now), [some("one", 7), some("two", 12)]);
        // A reverse zone without a place.
        let now = Counts::of(&[(place(last), 10), (place(0), 1)]);
        assert_eq!(counts(&tally, &now), [some("one", 7), some("two", 13)]);
        // Nobody counts any more.
        tally.own(Owners::default(), &now);
        let now = Counts::of(&[(place(last), 12), (place(0), 1)]);
        assert_eq!(
            counts(&tally, &now),
            [some("one", 7), some("two", 13), (None, 2)]
        );
    }
}
