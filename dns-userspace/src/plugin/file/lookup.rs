//! The answer of a zone to a question (RFC 1034 section 4.3.2, RFC 4592, RFC 6672).
//!
//! ```text
//! origin ──▶ label ──▶ label ──▶ … ──▶ name      down from the origin, as long as names exist
//!              │          │
//!              NS         DNAME                  a zone cut: referral; a substitution: another name
//! ```

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use super::zone::{Node, Zone, set};
use crate::plugin::{Next, Request};

/// Aliases that are followed within the zone, as in `CoreDNS`.
const ALIASES_MAX: usize = 8;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There are answers; or nothing but names below this one.
    Success,
    /// There is no such name.
    NoName,
    /// The name has no such records.
    NoData,
    /// Another zone has the answer.
    Delegation,
    /// An alias leads nowhere.
    Failure,
}

/// The sections of an answer.
pub(super) struct Answer {
    pub answers: Vec<Record>,
    pub authority: Vec<Record>,
    pub additionals: Vec<Record>,
    pub outcome: Outcome,
}

impl Answer {
    fn without_answers(outcome: Outcome, authority: Vec<Record>) -> Self {
        Answer {
            answers: Vec::new(),
            authority,
            additionals: Vec::new(),
            outcome,
        }
    }
}

/// A question while it is answered.
struct Question<'q> {
    zone: &'q Zone,
    request: &'q Request,
    rtype: RecordType,
    signed: bool,
    next: Next<'q>,
}

/// Answers a question about a lower-case name in the zone.
pub(super) async fn lookup(zone: &Zone, request: &Request, name: &Name, next: Next<'_>) -> Answer {
    let question = Question {
        zone,
        request,
        rtype: request.rtype,
        signed: request.edns.as_ref().is_some_and(|edns| edns.dnssec_ok),
        next,
    };
    question.answer(name).await
}

impl Question<'_> {
    async fn answer(&self, name: &Name) -> Answer {
        let (zone, signed) = (self.zone, self.signed);
        if let Some(answer) = self.apex(name) {
            return answer;
        }
        let mut wildcard: Option<Name> = None;
        for at in downwards(&zone.origin, name) {
            let Some(node) = zone.node(&at) else {
                let candidate = at.into_wildcard();
                if zone.node(&candidate).is_some() || zone.has_below(&candidate) {
                    wildcard = Some(candidate);
                }
                continue;
            };
            if at != *name && node.contains_key(&RecordType::DNAME) {
                return self.substitute(name, &at, node).await;
            }
            if let Some(referral) = self.referral(&at, name, node) {
                return referral;
            }
        }
        if let Some(node) = zone.node(name) {
            return self.of_node(name, node, None).await;
        }
        if let Some(wildcard) = wildcard.filter(|wildcard| !self.is_closer(name, wildcard)) {
            return match zone.node(&wildcard) {
                Some(node) => self.of_node(name, node, Some(name)).await,
                None => Answer::without_answers(Outcome::NoData, zone.soa(signed)),
            };
        }
        let exists = zone.has_below(name);
        let mut authority = zone.soa(signed);
        authority.extend(self.denial(name, exists));
        let outcome = if exists {
            Outcome::Success
        } else {
            Outcome::NoName
        };
        Answer::without_answers(outcome, authority)
    }

    /// SOA and NS of the zone itself.
    fn apex(&self, name: &Name) -> Option<Answer> {
        let (zone, signed) = (self.zone, self.signed);
        if *name != zone.origin {
            return None;
        }
        let (answers, authority) = match self.rtype {
            RecordType::SOA => (zone.soa(signed), zone.ns(signed)),
            RecordType::NS => (zone.ns(signed), Vec::new()),
            _ => return None,
        };
        if answers.is_empty() {
            return None;
        }
        Some(Answer {
            additionals: zone.addresses_of(&answers, signed),
            answers,
            authority,
            outcome: Outcome::Success,
        })
    }

    /// The answer of a name that exists, or of the wildcard that stands for it.
    async fn of_node(&self, name: &Name, node: &Node, synthesized: Option<&Name>) -> Answer {
        let (zone, signed) = (self.zone, self.signed);
        let owned = |mut records: Vec<Record>| {
            if let Some(owner) = synthesized {
                for record in &mut records {
                    record.name = owner.clone();
                }
            }
            records
        };
        let aliases = owned(set(node, RecordType::CNAME, signed));
        if !aliases.is_empty() && self.rtype != RecordType::CNAME {
            return self.follow(aliases).await;
        }
        let answers = owned(set(node, self.rtype, signed));
        if answers.is_empty() {
            let mut authority = zone.soa(signed);
            if signed {
                authority.extend(set(node, RecordType::NSEC, signed));
            }
            return Answer::without_answers(Outcome::NoData, authority);
        }
        let mut authority = zone.ns(signed);
        if signed && synthesized.is_some() {
            // That no name is closer.
            authority.extend(zone.before(name).map(nsec).unwrap_or_default());
        }
        Answer {
            additionals: match self.rtype {
                RecordType::NS => Vec::new(),
                _ => zone.addresses_of(&answers, signed),
            },
            answers,
            authority,
            outcome: Outcome::Success,
        }
    }

    /// Goes from alias to alias: in the zone here, elsewhere through the server.
    async fn follow(&self, mut answers: Vec<Record>) -> Answer {
        let (zone, signed) = (self.zone, self.signed);
        let mut aliases = 0;
        let (authority, outcome) = loop {
            let target = answers.iter().rev().find_map(|record| match &record.data {
                RData::CNAME(target) => Some(target.0.to_lowercase()),
                _ => None,
            });
            let Some(target) = target else {
                break (zone.ns(signed), Outcome::Success);
            };
            if let Some(referral) = self.cut_above(&target) {
                return Answer {
                    answers,
                    ..referral
                };
            }
            let is_apex = self.rtype == RecordType::NS
                || (self.rtype == RecordType::SOA && target == zone.origin);
            let Some(node) = zone.node(&target).filter(|_| !is_apex) else {
                let (found, outcome) = self.elsewhere(target).await;
                answers.extend(found);
                let is_denial = matches!(outcome, Outcome::NoName | Outcome::NoData);
                let authority = if is_denial {
                    zone.soa(signed)
                } else {
                    zone.ns(signed)
                };
                break (authority, outcome);
            };
            let further = set(node, RecordType::CNAME, signed);
            aliases += 1;
            if further.is_empty() {
                answers.extend(set(node, self.rtype, signed));
                break (zone.ns(signed), Outcome::Success);
            }
            answers.extend(further);
            if aliases > ALIASES_MAX {
                break (zone.ns(signed), Outcome::Success);
            }
        };
        Answer {
            additionals: match self.rtype {
                RecordType::NS => Vec::new(),
                _ => zone.addresses_of(&answers, signed),
            },
            answers,
            authority,
            outcome,
        }
    }

    /// What the server says about another name.
    async fn elsewhere(&self, name: Name) -> (Vec<Record>, Outcome) {
        let Some(reply) = self.next.lookup(self.request, name, self.rtype).await else {
            return (Vec::new(), Outcome::Failure);
        };
        let outcome = match reply.rcode {
            ResponseCode::NXDomain => Outcome::NoName,
            ResponseCode::ServFail => Outcome::Failure,
            ResponseCode::NoError if reply.answers.is_empty() => Outcome::NoData,
            _ => Outcome::Success,
        };
        (reply.answers, outcome)
    }

    /// Another name instead of the one that lies below a DNAME record.
    async fn substitute(&self, name: &Name, owner: &Name, node: &Node) -> Answer {
        let failure = Answer::without_answers(Outcome::Failure, Vec::new());
        let dnames = set(node, RecordType::DNAME, self.signed);
        let Some((ttl, target)) = dnames
            .first()
            .and_then(|record| Some((record.ttl, dname(record)?)))
        else {
            return failure;
        };
        let below = name.iter().take(name.iter().len() - owner.iter().len());
        let substituted = Name::from_labels(below).and_then(|below| below.append_domain(&target));
        let Some(substituted) = substituted.ok().filter(|other| other != name) else {
            return failure;
        };
        let cname = Record::from_rdata(name.clone(), ttl, RData::CNAME(CNAME(substituted)));
        let mut answer = if self.rtype == RecordType::CNAME {
            Answer {
                answers: vec![cname],
                ..Answer::without_answers(Outcome::Success, self.zone.ns(self.signed))
            }
        } else {
            self.follow(vec![cname]).await
        };
        answer.answers.splice(..0, dnames);
        answer
    }

    /// The referral to the zone that begins at `at`, where it is asked for `name`.
    fn referral(&self, at: &Name, name: &Name, node: &Node) -> Option<Answer> {
        // The DS record is the parent's (RFC 4035 section 3.1.4.1).
        let is_ours = *at == self.zone.origin || (self.rtype == RecordType::DS && at == name);
        let ns = node.get(&RecordType::NS).filter(|_| !is_ours)?;
        let mut authority = ns.clone();
        if self.signed {
            authority.extend(set(node, RecordType::DS, true));
        }
        Some(Answer {
            additionals: self.glue(ns),
            ..Answer::without_answers(Outcome::Delegation, authority)
        })
    }

    /// The addresses of servers below the cut: nobody else has them.
    fn glue(&self, ns: &[Record]) -> Vec<Record> {
        let is_below = |record: &&Record| match &record.data {
            RData::NS(server) => record.name.zone_of(&server.0),
            _ => false,
        };
        let below: Vec<Record> = ns.iter().filter(is_below).cloned().collect();
        self.zone.addresses_of(&below, self.signed)
    }

    /// The referral at the first zone cut on the way to a name.
    fn cut_above(&self, name: &Name) -> Option<Answer> {
        let mut way = downwards(&self.zone.origin, name);
        way.find_map(|at| self.referral(&at, name, self.zone.node(&at)?))
    }

    /// Whether a name without records, closer than the wildcard's, is the closest encloser (RFC 4592 section 3.3.1).
    fn is_closer(&self, name: &Name, wildcard: &Name) -> bool {
        let parent = wildcard.base_name();
        let mut above = name.base_name();
        while above != parent && parent.zone_of(&above) {
            if self.zone.has_below(&above) {
                return true;
            }
            above = above.base_name();
        }
        false
    }

    /// The NSEC records that deny a name, and the wildcard above it.
    fn denial(&self, name: &Name, exists: bool) -> Vec<Record> {
        if !self.signed {
            return Vec::new();
        }
        let mut records = self.zone.before(name).map(nsec).unwrap_or_default();
        if !exists {
            let mut encloser = name.base_name();
            while self.zone.node(&encloser).is_none() && encloser != self.zone.origin {
                encloser = encloser.base_name();
            }
            let wildcard = encloser.prepend_label("*").ok();
            let wildcard = wildcard.and_then(|wildcard| self.zone.before(&wildcard));
            for record in wildcard.map(nsec).unwrap_or_default() {
                if !records.contains(&record) {
                    records.push(record);
                }
            }
        }
        records
    }
}

/// The names from the origin down to a name in it; none to a name elsewhere.
fn downwards(origin: &Name, name: &Name) -> impl Iterator<Item = Name> {
    let labels = origin.iter().len()..=name.iter().len();
    let labels = Some(labels).filter(|_| origin.zone_of(name));
    labels
        .into_iter()
        .flatten()
        .map(|labels| name.trim_to(labels))
}

fn nsec(node: &Node) -> Vec<Record> {
    set(node, RecordType::NSEC, true)
}

/// The target of a DNAME record, which hickory has no form of its own for.
fn dname(record: &Record) -> Option<Name> {
    let RData::Unknown { rdata, .. } = &record.data else {
        return None;
    };
    Name::read(&mut BinDecoder::new(&rdata.anything)).ok()
}
