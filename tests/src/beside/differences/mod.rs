//! The differences that are meant, as `docs/differences.md` has them.

mod cluster;

use super::{question::Asked, reply::Seen};

/// One of them.
pub struct Difference {
    /// Its heading there.
    pub id: &'static str,
    /// Takes it out of two replies to a query, theirs and ours.
    level: fn(&Asked, &mut Seen, &mut Seen),
}

const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const NOTIFY: u8 = 4;
const NOTIMP: u16 = 4;
const IXFR: u16 = 251;

/// All, in the order in which they are looked for.
pub fn differences() -> impl Iterator<Item = &'static Difference> {
    GENERAL.iter().chain(cluster::DIFFERENCES)
}

const GENERAL: &[Difference] = &[
    Difference {
        id: "The size in OPT is the server's",
        level: |_, theirs, ours| {
            if let (Some(theirs), Some(ours)) = (&mut theirs.edns, &mut ours.edns)
                && ours.size == 1232
            {
                theirs.size = 1232;
            }
        },
    },
    Difference {
        id: "BADVERS comes before REFUSED",
        level: |asked, theirs, ours| {
            let is_newer = asked.edns.as_ref().is_some_and(|edns| edns.version > 0);
            if is_newer && theirs.rcode == 5 && ours.rcode == 16 {
                theirs.rcode = 16;
            }
        },
    },
    Difference {
        id: "OPT and DO are as asked",
        level: |asked, theirs, ours| match (&asked.edns, &ours.edns) {
            (None, None) => theirs.edns = None,
            (Some(asked), Some(ours)) if ours.dnssec_ok == asked.dnssec_ok => {
                if let Some(theirs) = &mut theirs.edns {
                    theirs.dnssec_ok = asked.dnssec_ok;
                }
            }
            _ => {}
        },
    },
    Difference {
        id: "Owners are spelt as in the question",
        level: |asked, theirs, ours| {
            // A pointer into the question makes an owner follow its case.
            for sections in [&mut theirs.sections, &mut ours.sections] {
                for line in sections.iter_mut().flatten() {
                    let suffix = format!(".{}.", asked.name).to_lowercase();
                    if suffix.ends_with(&format!(".{}", line.owner.to_lowercase())) {
                        line.owner = line.owner.to_lowercase();
                    }
                }
                for lines in sections.iter_mut() {
                    lines.sort();
                }
            }
        },
    },
    Difference {
        id: "The question is spelt as asked",
        level: |asked, theirs, ours| {
            if asked.is_spelt_in(&ours.question) && !asked.is_spelt_in(&theirs.question) {
                theirs.question = theirs.question.to_lowercase();
                ours.question = ours.question.to_lowercase();
            }
        },
    },
    Difference {
        id: "A search domain itself",
        level: |asked, theirs, ours| {
            // `autopath` of CoreDNS: "overshot qname".
            let is_search = ["one.example", "two.example"].contains(&&*asked.name.to_lowercase());
            if is_search && theirs.rcode == 2 && ours.rcode == 3 {
                *theirs = ours.clone();
            }
        },
    },
    Difference {
        id: "Labels before a reverse name",
        level: |asked, theirs, ours| {
            let name = asked.name.to_lowercase();
            let labels = name.split('.').count();
            let is_longer = (name.ends_with(".in-addr.arpa") && labels > 6)
                || (name.ends_with(".ip6.arpa") && labels > 34);
            if is_longer && asked.rtype == 12 && ours.sections[0].is_empty() {
                *theirs = ours.clone();
            }
        },
    },
    Difference {
        id: "Over UDP at most 1,232 bytes",
        level: |asked, theirs, ours| {
            let size = asked.edns.as_ref().map_or(0, |edns| edns.size);
            if !asked.is_over_tcp && size > 1232 && ours.flags & TC != 0 {
                theirs.flags |= TC;
            }
        },
    },
    Difference {
        id: "NOTIFY is not implemented",
        level: |asked, theirs, ours| {
            if asked.bytes[2] >> 3 & 0xf == NOTIFY && ours.rcode == NOTIMP {
                *theirs = ours.clone();
            }
        },
    },
    Difference {
        id: "A zone that has not changed is authoritative",
        level: |asked, theirs, ours| {
            if asked.rtype == IXFR && ours.sections[0].len() == 1 {
                theirs.flags |= AA & ours.flags;
            }
        },
    },
    Difference {
        id: "A truncated reply has no records",
        level: |_, theirs, ours| {
            if theirs.flags & ours.flags & TC != 0 && ours.sections.iter().all(Vec::is_empty) {
                theirs.sections = [const { Vec::new() }; 3];
            }
        },
    },
];

/// Those by which two replies differ; `None` where that is not all.
pub fn known(asked: &Asked, mut theirs: Seen, mut ours: Seen) -> Option<Vec<&'static str>> {
    let mut met = Vec::new();
    for difference in differences() {
        if theirs == ours {
            break;
        }
        let before = (theirs.clone(), ours.clone());
        (difference.level)(asked, &mut theirs, &mut ours);
        if before != (theirs.clone(), ours.clone()) {
            met.push(difference.id);
        }
    }
    (theirs == ours).then_some(met)
}
