//! `hosts`: names from a file like `/etc/hosts`.
//!
//! ```text
//! hosts [FILE [ZONES...]] {         /etc/hosts; the zones of the server block
//!     192.0.2.1 www.example.org     a line as in the file
//!     ttl SECONDS                   3600 unless given, 1 to 65535
//!     no_reverse                    no PTR records
//!     reload DURATION               how often the file is looked at; 5s, 0: never
//!     fallthrough [ZONES...]        names that are not there are asked of the next plugin
//!     fallthrough_unsupported       other types than A, AAAA and PTR are so too
//! }
//! ```
//!
//! A name that is there has A and AAAA records and nothing else. One that is not there, in a zone without
//! `fallthrough`, is SERVFAIL: there is no SOA record to say NXDOMAIN with. PTR questions go on to the next plugin
//! unless the address is there, whatever the zones are.

mod follow;
mod table;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
};

use super::{
    Builder, Next, Outcome, Plugin, Reply, Request, Site, Touch, args, builder::longest,
    reply::Flags,
};
use crate::{
    corefile::{Directive, Fault, Word},
    zone::reverse,
};
use follow::Followed;
use table::{Table, Wanted};

const PATH_DEFAULT: &str = "/etc/hosts";
const TTL_DEFAULT: u32 = 3600;
const RELOAD_DEFAULT: Duration = Duration::from_secs(5);
const TARGET: &str = "plugin/hosts";

struct Hosts {
    zones: Vec<Name>,
    fallthrough: Vec<Name>,
    fallthrough_unsupported: bool,
    ttl: u32,
    inline: Table,
    file: Arc<Followed>,
}

/// Reads `hosts`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let (path, zones) = match directive.args.split_first() {
        None => (PathBuf::from(PATH_DEFAULT), &[][..]),
        Some((word, zones)) => {
            let path = builder.path(word);
            check_file(&path, word)?;
            (path, zones)
        }
    };
    let zones = builder.zones(zones)?;
    let mut wanted = Wanted {
        zones: zones.clone(),
        reverse: true,
    };
    let (mut ttl, mut reload) = (TTL_DEFAULT, RELOAD_DEFAULT);
    let (mut fallthrough, mut unsupported) = (Vec::new(), None);
    let mut inline = String::new();
    for property in directive.properties() {
        property.no_block()?;
        match property.name.text.as_str() {
            "fallthrough" => fallthrough = builder.fallthrough(property)?,
            "fallthrough_unsupported" => {
                property.exactly::<0>("no arguments")?;
                unsupported = Some(property.name.span);
            }
            "no_reverse" => {
                property.exactly::<0>("no arguments")?;
                wanted.reverse = false;
            }
            "ttl" => {
                let [seconds] = property.exactly("a number of seconds")?;
                let parsed: Option<u16> = seconds.text.parse().ok();
                let parsed = parsed.filter(|seconds| *seconds > 0);
                ttl = parsed
                    .ok_or_else(|| seconds.not("1 to 65535 seconds"))?
                    .into();
            }
            "reload" => {
                let [duration] = property.exactly("a duration")?;
                reload = duration.duration()?;
            }
            // As in CoreDNS, lines of the file stand before `fallthrough`.
            address if fallthrough.is_empty() => {
                inline.push_str(address);
                for name in &property.args {
                    inline.push(' ');
                    inline.push_str(&name.text);
                }
                inline.push('\n');
            }
            _ => {
                let known = ["ttl", "no_reverse", "reload", "fallthrough"];
                return Err(property.unknown_property("hosts", &known));
            }
        }
    }
    if let Some(span) = unsupported
        && fallthrough.is_empty()
    {
        return Err(Fault::new(
            span,
            "`fallthrough_unsupported` without `fallthrough`",
            "`fallthrough` too",
        ));
    }
    let inline = Table::read(&inline, &wanted);
    let file = Followed::new(path, reload, wanted, &inline, builder.environment);
    builder.plugins.push(Box::new(Hosts {
        zones,
        fallthrough,
        fallthrough_unsupported: unsupported.is_some(),
        ttl,
        inline,
        file: Arc::new(file),
    }));
    Ok(())
}

/// It may come later, and be a directory until then.
fn check_file(path: &Path, word: &Word) -> Result<(), Fault> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            tracing::warn!(target: TARGET, "Hosts file {path:?} is a directory");
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(target: TARGET, "File does not exist: {}", path.display());
        }
        Err(error) => return Err(word.not(&format!("a file that can be read: {error}"))),
    }
    Ok(())
}

#[async_trait]
impl Plugin for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let name = request.lower_name();
        if longest(&self.zones, &name).is_none() && request.rtype != RecordType::PTR {
            return next.run(request).await;
        }
        let falls_through = longest(&self.fallthrough, &name).is_some();
        let file = self.file.table();
        let tables = [&*file, &self.inline];
        let data: Vec<RData> = match request.rtype {
            RecordType::PTR => {
                let names = pointers(tables, &name);
                if names.is_empty() {
                    return next.run(request).await;
                }
                names
            }
            RecordType::A => addresses(tables, &name, true),
            RecordType::AAAA => addresses(tables, &name, false),
            _ if self.fallthrough_unsupported && falls_through => return next.run(request).await,
            _ => Vec::new(),
        };
        if data.is_empty() && !tables.iter().any(|table| table.has(&name)) {
            if falls_through {
                return next.run(request).await;
            }
            return Ok(Reply::bare(ResponseCode::ServFail).into());
        }
        let answers = data.into_iter();
        Ok(Reply {
            flags: Flags {
                authoritative: true,
                ..Flags::default()
            },
            answers: answers
                .map(|data| Record::from_rdata(name.clone(), self.ttl, data))
                .collect(),
            ..Reply::bare(ResponseCode::NoError)
        }
        .into())
    }

    fn touches(&self) -> Vec<Touch> {
        // All names of a zone, if those that are not there are not left to the next plugin.
        let is_ours = |zone: &&Name| longest(&self.fallthrough, zone).is_none();
        let zones = self.zones.iter().filter(is_ours).cloned();
        let file = self.file.table();
        let touched = |table: &Table| -> Vec<Touch> {
            let names = table.names().cloned().map(Touch::Name);
            let below = table
                .wildcards()
                .map(|wildcard| Touch::Below(wildcard.base_name()));
            let reverse = table
                .addresses()
                .map(|address| Touch::Name(reverse::name_of(address)));
            names.chain(below).chain(reverse).collect()
        };
        (zones.map(Touch::Below))
            .chain(touched(&file))
            .chain(touched(&self.inline))
            .collect()
    }

    fn start(&self, _site: &Site) {
        Followed::follow(&self.file);
    }
}

fn addresses(tables: [&Table; 2], name: &Name, v4: bool) -> Vec<RData> {
    let found = tables
        .into_iter()
        .flat_map(|table| table.addresses_of(name, v4));
    found
        .map(|address| match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        })
        .collect()
}

fn pointers(tables: [&Table; 2], name: &Name) -> Vec<RData> {
    let Some(address) = reverse::Prefix::of_name(name).and_then(reverse::Prefix::address) else {
        return Vec::new();
    };
    let found = tables.into_iter().flat_map(|table| table.names_of(address));
    found.map(|name| RData::PTR(PTR(name.clone()))).collect()
}
