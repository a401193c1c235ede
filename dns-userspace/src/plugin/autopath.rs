//! `autopath`: walks the client's search path for it.
//!
//! ```text
//! autopath [ZONES...] RESOLV-CONF     the search path of this file
//! autopath [ZONES...] @kubernetes     that of the pod that asks; needs `pods verified`
//! ```
//!
//! A name in the first domain of the search path, which does not exist, is asked for in the other domains, and at last
//! alone. What exists first is the answer, behind a CNAME from the name that was asked. If none exists the client gets
//! the first NXDOMAIN, and walks on by itself.

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, rdata::CNAME},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    Builder, Next, Outcome, Plugin, Reply, Request, Served, Touch, args, builder::longest,
    metrics::Families,
};
use crate::corefile::{Directive, Fault, Word};

/// Matches no name at all.
const NOTHING: &str = r"[^\s\S]";

struct Autopath {
    zones: Vec<Name>,
    search: Search,
    counters: Counters,
}

enum Search {
    /// The same for all.
    Fixed(Vec<Name>),
    /// What `kubernetes` knows, and then the domains of this machine.
    OfPod(Vec<Name>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    server: String,
}

#[derive(Clone, Default)]
struct Counters(Family<Labels, Counter>);

impl Families for Counters {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "coredns_autopath_success",
            "Counter of requests that did autopath",
            self.0.clone(),
        );
    }
}

/// Reads `autopath`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.no_block()?;
    let Some((last, zones)) = directive.args.split_last() else {
        return Err(directive.wrong_arguments("[ZONES...] RESOLV-CONF, or [ZONES...] @kubernetes"));
    };
    let search = match last.text.strip_prefix('@') {
        None => Search::Fixed(search_of(&last.text).map_err(|error| {
            last.not(&format!("a file in the form of /etc/resolv.conf: {error}"))
        })?),
        Some("kubernetes") => {
            needs_pods(builder, last)?;
            Search::OfPod(search_of("/etc/resolv.conf").unwrap_or_default())
        }
        Some(_) => return Err(last.not("a file, or @kubernetes")),
    };
    let autopath = Autopath {
        zones: builder.zones(zones)?,
        search,
        counters: builder.environment.metrics.of::<Counters>(),
    };
    builder.plugins.push(Box::new(autopath));
    Ok(())
}

fn needs_pods(builder: &Builder<'_>, word: &Word) -> Result<(), Fault> {
    let mut kubernetes = (builder.directives.iter())
        .filter(|directive| directive.name.text == "kubernetes")
        .flat_map(Directive::properties);
    let is_verified = kubernetes.any(|property| {
        let mode = property.args.first().map(|mode| mode.text.as_str());
        property.name.text == "pods" && mode == Some("verified")
    });
    if is_verified {
        return Ok(());
    }
    Err(Fault::new(
        word.span,
        "nobody knows the namespaces of pods",
        "`kubernetes` with `pods verified` in this server block",
    ))
}

/// The domains of the last `search` or `domain`.
fn search_of(file: &str) -> Result<Vec<Name>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let mut search = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if matches!(words.next(), Some("search" | "domain")) {
            search = words.map(domain).collect::<Result<_, _>>()?;
        }
    }
    Ok(search)
}

fn domain(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

impl Autopath {
    fn search(&self, request: &Request, next: Next<'_>) -> Option<Vec<Name>> {
        let mut search = match &self.search {
            Search::Fixed(search) => search.clone(),
            Search::OfPod(further) => {
                let mut search = next.search_path(request)?;
                search.extend(further.iter().cloned());
                search
            }
        };
        search.push(Name::root());
        Some(search)
    }
}

#[async_trait]
impl Plugin for Autopath {
    fn name(&self) -> &'static str {
        "autopath"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let lower = request.lower_name();
        if longest(&self.zones, &lower).is_none() {
            return next.run(request).await;
        }
        let search = self.search(request, next).unwrap_or_default();
        let Some(first) = search.first().filter(|first| first.zone_of(&lower)) else {
            return next.run(request).await;
        };
        let asked = request.name.clone();
        let labels = usize::from(asked.num_labels()) - usize::from(first.num_labels());
        if labels == 0 || search.len() == 1 {
            return next.run(request).await;
        }
        let base: Vec<&[u8]> = asked.iter().take(labels).collect();
        let mut denied = None;
        for domain in &search {
            let base = Name::from_labels(base.iter().copied());
            let Ok(name) = base.and_then(|base| base.append_domain(domain)) else {
                continue;
            };
            request.name = name;
            let outcome = next.run(request).await;
            let name = std::mem::replace(&mut request.name, asked.clone());
            match outcome {
                Ok(Served::Reply(reply)) if reply.rcode == ResponseCode::NXDomain => {
                    denied.get_or_insert(reply);
                }
                Ok(Served::Reply(reply)) => {
                    let server = request.server.to_string();
                    self.counters.0.get_or_create(&Labels { server }).inc();
                    return Ok(behind_cname(reply, asked, &name).into());
                }
                other => return other,
            }
        }
        // The first domain is that of the name, so somebody was asked.
        Ok(denied
            .unwrap_or_else(|| Reply::bare(ResponseCode::NXDomain))
            .into())
    }

    fn touches(&self) -> Vec<Touch> {
        // What exists is answered as it would be without, and denied is nothing before the whole path was walked.
        vec![Touch::Matching(NOTHING.to_owned())]
    }
}

/// The answer for `name`, for a client that asked for `asked`.
fn behind_cname(mut reply: Reply, asked: Name, name: &Name) -> Reply {
    if asked != *name
        && let Some(first) = reply.answers.first()
    {
        let cname = RData::CNAME(CNAME(first.name.clone()));
        let cname = Record::from_rdata(asked, first.ttl, cname);
        reply.answers.insert(0, cname);
        // No answer of the kernel's, so it need not look like one.
        reply.compressed = true;
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_matched() {
        let nothing = regex::Regex::new(NOTHING).expect("an expression");
        for name in ["", ".", "web.shop.svc.cluster.local."] {
            assert!(!nothing.is_match(name), "{name}");
        }
    }
}
