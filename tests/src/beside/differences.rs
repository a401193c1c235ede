//! The differences that are meant, as `docs/differences.md` has them.

use super::{question::Asked, reply::Seen};

/// One of them.
pub struct Difference {
    /// Its heading there.
    pub id: &'static str,
    /// Takes it out of two replies to a query, theirs and ours.
    level: fn(&Asked, &mut Seen, &mut Seen),
}

/// All, in the order in which they are looked for.
pub const DIFFERENCES: &[Difference] = &[
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
        id: "The serial of the cluster's SOA",
        level: |_, theirs, ours| {
            for seen in [theirs, ours] {
                for line in seen.sections.iter_mut().flatten() {
                    let mut fields: Vec<&str> = line.data.split(' ').collect();
                    if line.rtype == "IN SOA" && fields[0].starts_with("ns.dns.") {
                        fields[2] = "0";
                        line.data = fields.join(" ");
                    }
                }
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
        id: "DO is copied into BADVERS",
        level: |_, theirs, ours| {
            if let (Some(theirs), Some(ours)) = (&mut theirs.edns, &ours.edns)
                && ours.dnssec_ok
            {
                theirs.dnssec_ok = true;
            }
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
];

/// Those by which two replies differ; `None` where that is not all.
pub fn known(asked: &Asked, mut theirs: Seen, mut ours: Seen) -> Option<Vec<&'static str>> {
    let mut met = Vec::new();
    for difference in DIFFERENCES {
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
