//! What differs in answers from the cluster's names. Each of them is a decision of `hopzero::zone`, which has the reasons.

use super::Difference;
use crate::beside::{question::Asked, reply::Seen};

const SOA: u16 = 6;
const PTR: u16 = 12;
const TXT: u16 = 16;
const SRV: u16 = 33;
const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;

/// All.
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        id: "The serial of the cluster's SOA",
        level: |_, theirs, ours| {
            for seen in [theirs, ours] {
                for line in seen.sections.iter_mut().flatten() {
                    let mut fields: Vec<&str> = line.data.split(' ').collect();
                    if line.rtype == "IN SOA" && fields[0].to_lowercase().starts_with("ns.dns.") {
                        fields[2] = "0";
                        line.data = fields.join(" ");
                    }
                }
            }
        },
    },
    Difference {
        id: "Names in data are spelt as in the zone",
        level: |asked, theirs, ours| {
            if asked.name.bytes().any(|byte| byte.is_ascii_uppercase()) && is_of_cluster(asked) {
                for seen in [theirs, ours] {
                    for section in &mut seen.sections {
                        for line in section.iter_mut() {
                            line.data = line.data.to_lowercase();
                            line.owner = line.owner.to_lowercase();
                        }
                        section.sort();
                    }
                }
            }
        },
    },
    Difference {
        id: "TTLs of the cluster's names are whole",
        level: |asked, theirs, ours| {
            if !is_of_cluster(asked) {
                return;
            }
            for (theirs, ours) in theirs.sections.iter_mut().zip(&ours.sections) {
                for (theirs, ours) in theirs.iter_mut().zip(ours) {
                    // CoreDNS's counts down in its cache.
                    theirs.ttl = theirs.ttl.max(ours.ttl);
                }
            }
        },
    },
    Difference {
        id: "What exists is not denied",
        level: |asked, theirs, ours| {
            // Reverse names have other types than PTR, `_tcp` has a port below it, the name of a cluster its
            // endpoints, and `dns` the SOA's primary.
            let name = asked.name.to_lowercase();
            let is_protocol = ["_tcp.", "_udp.", "_sctp."]
                .iter()
                .any(|label| name.starts_with(label));
            let is_cluster = name.ends_with(".clusterset.local")
                && (name.starts_with("east.") || name.starts_with("west."));
            let is_fixed = name.starts_with("dns.") || name.starts_with("dns-version.");
            // TXT is for `dns-version` alone.
            let is_text = asked.rtype == TXT && is_of_cluster(asked);
            if (is_protocol || is_cluster || is_fixed || is_text || is_reverse(asked))
                && is_denial(theirs, 3)
                && is_denial(ours, 0)
            {
                // Where it falls through, all of the reply is another's.
                *theirs = ours.clone();
            }
        },
    },
    Difference {
        id: "SOA of a name that does not exist",
        level: |asked, theirs, ours| {
            if asked.rtype == SOA
                && is_of_cluster(asked)
                && is_denial(theirs, 0)
                && is_denial(ours, 3)
            {
                *theirs = ours.clone();
            }
        },
    },
    Difference {
        id: "A port's name has SRV records only",
        level: |asked, theirs, ours| {
            let is_address = [A, AAAA].contains(&asked.rtype);
            let has_port = asked.name.starts_with('_') && asked.name.contains("._");
            if is_address && has_port && theirs.rcode == 0 && is_denial(ours, 0) {
                theirs.sections.clone_from(&ours.sections);
            }
        },
    },
    Difference {
        id: "An endpoint's name has addresses only",
        level: |asked, theirs, ours| {
            let targets_itself = |seen: &Seen| {
                let name = format!(" {}.", asked.name.to_lowercase());
                let mut answers = seen.sections[0].iter();
                !seen.sections[0].is_empty()
                    && answers.all(|line| line.data.to_lowercase().ends_with(&name))
            };
            if asked.rtype == SRV && targets_itself(theirs) && is_denial(ours, 0) {
                theirs.sections.clone_from(&ours.sections);
            }
        },
    },
    Difference {
        id: "ANY is answered with one RRset",
        level: |asked, theirs, ours| {
            let is_one = ours.sections[0]
                .windows(2)
                .all(|two| two[0].rtype == two[1].rtype);
            if asked.rtype == ANY
                && is_of_cluster(asked)
                && is_denial(theirs, theirs.rcode)
                && ours.rcode == 0
                && is_one
            {
                *theirs = ours.clone();
            }
        },
    },
    Difference {
        id: "An alias is shown, whatever is asked and wherever it leads",
        level: |asked, theirs, ours| {
            let is_alias =
                |seen: &Seen| seen.sections[0].iter().any(|line| line.rtype == "IN CNAME");
            if is_of_cluster(asked) && theirs.rcode == 0 && !is_alias(theirs) && is_alias(ours) {
                theirs.rcode = ours.rcode;
                theirs.flags = ours.flags;
                theirs.sections.clone_from(&ours.sections);
            }
        },
    },
    Difference {
        id: "Namespaces that are left out have no reverse names",
        level: |asked, theirs, ours| {
            let is_left_out = theirs.sections[0].iter().all(|line| is_odd(&line.data));
            if asked.rtype == PTR && theirs.rcode == 0 && is_left_out && is_denial(ours, 3) {
                *theirs = ours.clone();
            }
        },
    },
    Difference {
        id: "An endpoint of two slices counts once",
        level: |asked, theirs, ours| {
            // The second field of an SRV record is its weight.
            let without_weight = |seen: &mut Seen| {
                for line in &mut seen.sections[0] {
                    let mut fields: Vec<&str> = line.data.split(' ').collect();
                    if let [_, weight, ..] = fields.as_mut_slice() {
                        *weight = "";
                    }
                    line.data = fields.join(" ");
                }
            };
            if asked.rtype == SRV && theirs.sections[0].len() > 1 {
                without_weight(theirs);
                without_weight(ours);
            }
        },
    },
    Difference {
        id: "There is nothing below a pod's name",
        level: |asked, theirs, ours| {
            let name = asked.name.to_lowercase();
            let is_below =
                name.ends_with(".pod.cluster.local") || name.ends_with(".pod.clusterset.local");
            if is_below && is_denial(theirs, 0) && is_denial(ours, 3) {
                *theirs = ours.clone();
            }
        },
    },
];

/// Whether a name is of a namespace that `namespace_labels team=even` leaves out.
fn is_odd(name: &str) -> bool {
    let mut labels = name.split('.');
    let number = labels.find_map(|label| label.strip_prefix("ns-")?.parse::<u32>().ok());
    number.is_some_and(|number| !number.is_multiple_of(2))
}

fn is_of_cluster(asked: &Asked) -> bool {
    is_reverse(asked) || top_label(asked) == "local"
}

fn is_reverse(asked: &Asked) -> bool {
    top_label(asked) == "arpa"
}

fn top_label(asked: &Asked) -> String {
    let name = asked.name.to_lowercase();
    name.rsplit('.').next().unwrap_or_default().to_owned()
}

/// No answer, this RCODE, and the SOA.
fn is_denial(seen: &Seen, rcode: u16) -> bool {
    seen.rcode == rcode && seen.sections[0].is_empty()
}
