//! Answering a question.

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};

use super::{
    Answer, RrSet, Zone, authority::Existence, owner::OwnerName, question::Subject, records::TYPES,
};

/// CNAME records in one answer.
const CHAIN_MAX: usize = 10;

impl Zone {
    /// The answer to a question of class IN; `None` when the name is in none of our zones.
    ///
    /// The owners of the records at the name, and of the SOA of its zone, are spelt as the question spells them.
    /// ANY is answered with one `RRset` (RFC 8482 section 4.1).
    pub fn lookup(&self, name: &Name, rtype: RecordType) -> Option<Answer> {
        let mut lower = OwnerName::new(name);
        let mut parsed = self.apexes.parse(&lower)?;
        if !self.synchronised {
            // What is missing may only not have come yet.
            return Some(Answer {
                authoritative: false,
                ..answer(ResponseCode::ServFail)
            });
        }
        let mut found = answer(ResponseCode::NoError);
        let mut owner = name.clone();
        loop {
            let (number, subject) = parsed;
            let zone = &self.apexes.get(number).name;
            match self.existence(&lower, subject) {
                Existence::Absent => {
                    found.rcode = ResponseCode::NXDomain;
                    found.authority.push(self.soa_record(&spelt(zone, &owner)));
                    return Some(found);
                }
                Existence::Exists => {
                    self.finish(&mut found, zone, &owner, subject, rtype);
                    return Some(found);
                }
                Existence::Alias(target) => {
                    if found.answers.len() == CHAIN_MAX {
                        return Some(found);
                    }
                    let rdata = RData::CNAME(CNAME(target.clone()));
                    let record = Record::from_rdata(owner, self.config.ttl, rdata);
                    let looped = target == record.name
                        || found.answers.iter().any(|before| before.name == target);
                    found.answers.push(record);
                    lower = OwnerName::new(&target);
                    owner = target;
                    match self.apexes.parse(&lower) {
                        Some(next) if !looped && !stops_at_alias(rtype) => parsed = next,
                        // Not ours to answer, or not to be answered: the CNAME stands alone.
                        _ => return Some(found),
                    }
                }
            }
        }
    }

    /// The target of the alias that an answer ends with, if that is in none of our zones and was to be followed.
    pub fn left_to_others(&self, answer: &Answer, rtype: RecordType) -> Option<Name> {
        let RData::CNAME(CNAME(target)) = &answer.answers.last()?.data else {
            return None;
        };
        let is_elsewhere = !stops_at_alias(rtype) && self.zone_of(target).is_none();
        is_elsewhere.then(|| target.clone())
    }

    /// The `RRset` that was asked for, or NODATA.
    fn finish(
        &self,
        found: &mut Answer,
        zone: &Name,
        owner: &Name,
        subject: Subject<'_>,
        rtype: RecordType,
    ) {
        let zone = spelt(zone, owner);
        let rrset = if rtype == RecordType::ANY {
            TYPES
                .into_iter()
                .find_map(|rtype| self.rrset(&zone, subject, rtype))
        } else {
            self.rrset(&zone, subject, rtype)
        };
        let Some(RrSet {
            ttl,
            rdata,
            additionals,
            ..
        }) = rrset
        else {
            found.authority.push(self.soa_record(&zone));
            return;
        };
        let records = rdata
            .into_iter()
            .map(|rdata| Record::from_rdata(owner.clone(), ttl, rdata));
        found.answers.extend(records);
        found.additionals = additionals;
    }
}

/// The types that ask for the CNAME itself.
fn stops_at_alias(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::CNAME | RecordType::ANY)
}

/// `zone` in the case in which `name`, below it, spells it.
fn spelt(zone: &Name, name: &Name) -> Name {
    let mut spelt = name.clone();
    while spelt.iter().len() > zone.iter().len() {
        spelt = spelt.base_name();
    }
    spelt
}

fn answer(rcode: ResponseCode) -> Answer {
    Answer {
        rcode,
        authoritative: true,
        answers: Vec::new(),
        authority: Vec::new(),
        additionals: Vec::new(),
    }
}
