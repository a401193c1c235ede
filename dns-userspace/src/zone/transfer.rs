//! All records of a zone, for zone transfers.

use hickory_proto::rr::{Name, RData, Record, RecordType, rdata::CNAME};

use super::{Zone, authority::Existence, owner::OwnerName, records::TYPES};

impl Zone {
    /// The records of one of our zones between two SOA records (RFC 5936 section 2.2); `None` if it is none, or not
    /// all of it is known.
    ///
    /// Names below `pod.<zone>` are not listed: they exist for whatever is asked.
    pub fn transfer(&self, zone: &Name) -> Option<Vec<Record>> {
        let zone = self.config.zones().find(|ours| *ours == zone)?;
        if !self.synchronised {
            return None;
        }
        let soa = self.soa_record(zone);
        let mut records = vec![soa.clone()];
        let mut names: Vec<Name> = self.names().filter(|name| zone.zone_of(name)).collect();
        names.sort();
        for name in names {
            self.add_records(&mut records, zone, &name);
        }
        records.push(soa);
        Some(records)
    }

    fn add_records(&self, records: &mut Vec<Record>, zone: &Name, name: &Name) {
        let owner = OwnerName::new(name);
        let Some((of, subject)) = self.apexes.parse(&owner) else {
            return;
        };
        if self.apexes.get(of).name != *zone || subject.is_of_pods() {
            return;
        }
        match self.existence(&owner, subject) {
            Existence::Absent => {}
            Existence::Alias(target) => {
                let cname = RData::CNAME(CNAME(target));
                records.push(Record::from_rdata(name.clone(), self.config.ttl, cname));
            }
            Existence::Exists => {
                for rtype in TYPES.into_iter().filter(|rtype| *rtype != RecordType::SOA) {
                    let rrset = self.rrset(zone, subject, rtype);
                    records.extend(rrset.into_iter().flat_map(|rrset| {
                        let record = |data| Record::from_rdata(name.clone(), rrset.ttl, data);
                        rrset.rdata.into_iter().map(record).collect::<Vec<_>>()
                    }));
                }
            }
        }
    }
}
