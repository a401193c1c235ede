//! What rules do to replies.

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record},
};
use regex::Regex;

use super::{
    matching::{Match, expand, name},
    rcode_after,
};
use crate::plugin::{Next, Reply, Request, text};

/// One change of a reply.
pub(super) enum Change<'r> {
    /// The owner names of records.
    Owner(Replace<'r>),
    /// The names in their data.
    Value(Replace<'r>),
    /// TTLs outside of these bounds.
    Ttl { min: u32, max: u32 },
    /// One RCODE to another.
    Rcode {
        from: ResponseCode,
        to: ResponseCode,
    },
    /// The target of the first CNAME that matches, and what stands behind it.
    Cname { target: &'r Match, to: &'r str },
    /// An EDNS option that was not in the client's query, or was another one there.
    Option { code: u16, was: Option<Vec<u8>> },
}

/// What becomes of a name in a reply.
#[derive(Clone)]
pub(super) enum Replace<'r> {
    /// A name, and what lies below it.
    Below { from: String, to: String },
    /// The end of a name.
    Suffix { from: &'r str, to: &'r str },
    /// What an expression matches.
    Regex(&'r Regex, &'r str),
}

impl Replace<'_> {
    fn of(&self, name: &str) -> Option<String> {
        match self {
            Replace::Below { from, to } => {
                let before = name.strip_suffix(from.as_str())?;
                let is_border = before.is_empty() || before.ends_with('.');
                is_border.then(|| format!("{before}{to}"))
            }
            Replace::Suffix { from, to } => Some(format!("{}{to}", name.strip_suffix(from)?)),
            Replace::Regex(regex, to) => expand(regex, name, to),
        }
    }

    /// What would be no name stays as it is.
    fn apply(&self, owner: &mut Name) {
        if let Some(replaced) = self
            .of(&text::show(&owner.to_lowercase()))
            .and_then(|text| name(&text))
        {
            *owner = replaced;
        }
    }
}

/// Makes the changes, the last of them first.
pub(super) async fn change(
    reply: &mut Reply,
    changes: &[Change<'_>],
    request: &Request,
    next: Next<'_>,
) {
    if changes.is_empty() {
        return;
    }
    let Reply {
        answers,
        authority,
        additionals,
        ..
    } = reply;
    for record in [authority, answers, additionals].into_iter().flatten() {
        for change in changes.iter().rev() {
            change.record(record);
        }
    }
    reply.rcode = rcode_after(reply.rcode, changes);
    for change in changes.iter().rev() {
        match change {
            Change::Cname { target, to } => retarget(reply, target, to, request, next).await,
            Change::Option { code, was } => {
                let options = &mut reply.options;
                if let Some(at) = options.iter().position(|(known, _)| known == code) {
                    match was {
                        Some(data) => options[at].1.clone_from(data),
                        None => drop(options.remove(at)),
                    }
                }
            }
            _ => {}
        }
    }
}

impl Change<'_> {
    fn record(&self, record: &mut Record) {
        match self {
            Change::Owner(replace) => replace.apply(&mut record.name),
            Change::Value(replace) => {
                if let Some(value) = value(&mut record.data) {
                    replace.apply(value);
                }
            }
            Change::Ttl { min, max } => record.ttl = record.ttl.clamp(*min, *max),
            Change::Rcode { .. } | Change::Cname { .. } | Change::Option { .. } => {}
        }
    }
}

/// The name in a record's data that rules are about.
fn value(data: &mut RData) -> Option<&mut Name> {
    Some(match data {
        RData::SRV(data) => &mut data.target,
        RData::MX(data) => &mut data.exchange,
        RData::CNAME(data) => &mut data.0,
        RData::NS(data) => &mut data.0,
        RData::NAPTR(data) => &mut data.replacement,
        RData::SOA(data) => &mut data.mname,
        RData::PTR(data) => &mut data.0,
        _ => return None,
    })
}

/// Lets an alias lead elsewhere, and asks there.
async fn retarget(reply: &mut Reply, target: &Match, to: &str, request: &Request, next: Next<'_>) {
    let found = reply.answers.iter().enumerate().find_map(|(at, record)| {
        let RData::CNAME(cname) = &record.data else {
            return None;
        };
        let to = target.replace(&text::show(&cname.0.to_lowercase()), to)?;
        Some((at, name(&to)?))
    });
    let Some((at, to)) = found else { return };
    let Some(found) = next.lookup(request, to.clone(), request.rtype).await else {
        return;
    };
    if let RData::CNAME(cname) = &mut reply.answers[at].data {
        cname.0 = to;
    }
    reply.answers.truncate(at + 1);
    // Of the records before it only the aliases lead there.
    reply
        .answers
        .retain(|record| matches!(record.data, RData::CNAME(_)));
    reply.answers.extend(found.answers);
    // A cache must not take it for the whole.
    reply.flags.truncated = found.flags.truncated;
}
