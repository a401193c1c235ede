//! `file`: zones from zone files (RFC 1035 section 5).
//!
//! ```text
//! file DBFILE [ZONES...] {
//!     reload DURATION           how often the file is looked at; 1m, 0: never
//!     reload_by_mtime           it is another one if it was written again; else if its SOA has another serial
//!     fallthrough [ZONES...]    what does not exist there is asked of the next plugin
//!     upstream                  taken and without effect, as in CoreDNS since 1.5
//! }
//! ```
//!
//! | module | concept |
//! |---|---|
//! | [`load`] | from text to records |
//! | [`zone`] | the records of a zone, by name and type |
//! | [`lookup`] | the answer to a question |
//! | [`follow`] | a file that may change |
//!
//! Signatures and NSEC records that stand in the file are given to who asks for them (DO). NSEC3 is not served.

mod follow;
mod load;
mod lookup;
mod seconds;
mod zone;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};

use super::{
    Builder, Failure, Next, Outcome, Plugin, Reply, Request, Site, Touch, builder::longest,
    reply::Flags,
};
use crate::corefile::{Directive, Fault};
use follow::Followed;
use lookup::Outcome as Found;

const RELOAD_DEFAULT: Duration = Duration::from_mins(1);

struct File {
    /// Those of `files`.
    zones: Vec<Name>,
    files: Vec<Arc<Followed>>,
    fallthrough: Vec<Name>,
}

/// Reads all `file` of a server block.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let mut file = File {
        zones: Vec::new(),
        files: Vec::new(),
        fallthrough: Vec::new(),
    };
    for directive in directives {
        let Some((path, zones)) = directive.args.split_first() else {
            return Err(directive.wrong_arguments("DBFILE [ZONES...]"));
        };
        let (mut reload, mut by_mtime) = (RELOAD_DEFAULT, false);
        for property in directive.properties() {
            property.no_block()?;
            match property.name.text.as_str() {
                "reload" => {
                    let [duration] = property.exactly("a duration")?;
                    reload = duration.duration()?;
                }
                "reload_by_mtime" => {
                    property.exactly::<0>("no arguments")?;
                    by_mtime = true;
                }
                "fallthrough" => file.fallthrough = builder.fallthrough(property)?,
                "upstream" => {}
                _ => {
                    let known = ["reload", "reload_by_mtime", "fallthrough", "upstream"];
                    return Err(property.unknown_property("file", &known));
                }
            }
        }
        for zone in builder.zones(zones)? {
            let followed = Followed::open(builder.path(path), path, &zone, reload, by_mtime)?;
            // The last one of a zone counts.
            if let Some(at) = file.zones.iter().position(|known| *known == zone) {
                file.zones.remove(at);
                file.files.remove(at);
            }
            file.zones.push(zone);
            file.files.push(Arc::new(followed));
        }
    }
    builder.plugins.push(Box::new(file));
    Ok(())
}

#[async_trait]
impl Plugin for File {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let name = request.lower_name();
        let zone = longest(&self.zones, &name);
        let at = zone.and_then(|zone| self.zones.iter().position(|known| known == zone));
        let Some(at) = at else {
            return next.run(request).await;
        };
        let bare = |rcode| Ok(Reply::bare(rcode).into());
        if matches!(request.rtype, RecordType::AXFR | RecordType::IXFR) {
            return bare(ResponseCode::Refused);
        }
        let Some(zone) = self.files[at].zone() else {
            return bare(ResponseCode::ServFail);
        };
        let answer = lookup::lookup(&zone, request, &name, next).await;
        let is_missing = matches!(answer.outcome, Found::NoName | Found::Success);
        if answer.answers.is_empty() && is_missing && longest(&self.fallthrough, &name).is_some() {
            return next.run(request).await;
        }
        let rcode = match answer.outcome {
            Found::Success | Found::NoData | Found::Delegation => ResponseCode::NoError,
            Found::NoName => ResponseCode::NXDomain,
            Found::Failure if answer.answers.is_empty() => return bare(ResponseCode::ServFail),
            // An alias, and the RCODE of its target (RFC 6604 section 3).
            Found::Failure => ResponseCode::ServFail,
        };
        let is_referral = answer.outcome == Found::Delegation && answer.answers.is_empty();
        Ok(Reply {
            flags: Flags {
                authoritative: !is_referral,
                ..Flags::default()
            },
            answers: answer.answers,
            authority: answer.authority,
            additionals: answer.additionals,
            ..Reply::bare(rcode)
        }
        .into())
    }

    fn touches(&self) -> Vec<Touch> {
        // It stands behind `kubernetes`.
        Vec::new()
    }

    fn transfer(&self, zone: &Name) -> Option<Result<Vec<Record>, Failure>> {
        let at = self.zones.iter().position(|known| known == zone)?;
        let zone = self.files[at].zone();
        Some(
            zone.map(|zone| zone.all())
                .ok_or_else(|| Failure::new("no SOA")),
        )
    }

    fn start(&self, site: &Site) {
        for (zone, file) in self.zones.iter().zip(&self.files) {
            site.changed(zone);
            Followed::follow(file, site);
        }
    }
}
