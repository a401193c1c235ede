//! Reading `forward`.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use hickory_proto::rr::Name;

use super::{
    super::{Builder, zones::Zones},
    Forward, Inner,
    counters::ForwardCounters,
    flight::Flights,
    policy::UPSTREAMS_MAX,
    properties::Properties,
    tls::Tls,
    to::{self, To},
    upstream::{HealthConfig, Upstream, UpstreamConfig},
    walk::Upstreams,
};
use crate::{
    corefile::{Directive, Fault, Word, key},
    wire,
};

/// Attempts for one query, for each upstream.
const ATTEMPTS_PER_UPSTREAM: usize = 2;

/// Reads every `forward` of a server block; the queries go through them in the order of the file.
pub(in super::super) fn setup(
    builder: &mut Builder<'_>,
    directives: &[&Directive],
) -> Result<(), Fault> {
    for (index, directive) in directives.iter().enumerate() {
        let has_next = index + 1 < directives.len();
        let forward = read(builder, directive, has_next)?;
        builder.plugins.push(Box::new(forward));
    }
    Ok(())
}

fn read(builder: &Builder<'_>, directive: &Directive, has_next: bool) -> Result<Forward, Fault> {
    let [from, to @ ..] = directive.args.as_slice() else {
        return Err(directive.wrong_arguments("FROM TO..."));
    };
    if to.is_empty() {
        return Err(directive.wrong_arguments("FROM TO..."));
    }
    let from = zone(from)?;
    let mut properties = Properties::default();
    for property in directive.properties() {
        properties.read(builder, property)?;
    }
    if let Some((max_age, word)) = properties.max_age
        && max_age < properties.expire
    {
        return Err(word.not("a duration not below `expire`"));
    }
    let counters = builder.environment.metrics.of::<Arc<ForwardCounters>>();
    let upstreams = upstreams(builder, directive, to, &properties, &counters)?;
    builder.environment.upstreams.add(&upstreams);
    let attempts = ATTEMPTS_PER_UPSTREAM * upstreams.len();
    Ok(Forward(Arc::new(Inner {
        from: wire::lower_name(&from).into(),
        except: Zones::new(&properties.except),
        max_concurrent: properties.max_concurrent,
        concurrent: 0.into(),
        next_rcodes: if has_next {
            properties.next
        } else {
            Vec::new()
        },
        next_on_nodata: has_next && properties.next_on_nodata,
        flights: Flights::default(),
        upstreams: Upstreams {
            all: upstreams,
            policy: properties.policy,
            force_tcp: properties.force_tcp,
            prefer_udp: properties.prefer_udp,
            attempts_max: match properties.attempts_max {
                None => Some(attempts),
                Some(0) => None,
                some => some,
            },
            fail_fast: properties.fail_fast,
            failover: properties.failover,
            read_timeout: properties.read_timeout,
            total_timeout: builder.environment.timeouts.total,
            counters,
        },
    })))
}

/// FROM: of a network whose prefix is not at a label's border it is the first zone only, as in `CoreDNS`.
fn zone(word: &Word) -> Result<Name, Fault> {
    let zones = key::zones(&word.text)
        .map_err(|message| Fault::new(word.span, message, "a domain or a network"))?;
    if zones.len() > 1 {
        tracing::warn!(
            target: "plugin/forward",
            "Unsupported CIDR notation: '{}' expands to multiple zones. Using only '{}'.",
            word.text, zones[0]
        );
    }
    Ok(zones[0].clone())
}

fn upstreams(
    builder: &Builder<'_>,
    directive: &Directive,
    to: &[Word],
    properties: &Properties<'_>,
    counters: &ForwardCounters,
) -> Result<Vec<Arc<Upstream>>, Fault> {
    let mut all: Vec<(To, &Word)> = Vec::new();
    let mut seen: HashSet<SocketAddr> = HashSet::new();
    for word in to {
        for to in to::read(word)? {
            if seen.insert(to.address) {
                all.push((to, word));
            }
        }
    }
    if all.is_empty() || all.len() > UPSTREAMS_MAX {
        return Err(Fault::new(
            directive.span(),
            format!("`forward` to {} upstreams", all.len()),
            format!("1 to {UPSTREAMS_MAX}"),
        ));
    }
    let config = UpstreamConfig {
        source: properties.source,
        expire: properties.expire,
        max_age: properties.max_age.map(|(max_age, _)| max_age),
        max_idle: Some(properties.max_idle).filter(|max| *max > 0),
        health: HealthConfig {
            max_fails: properties.max_fails,
            interval: properties.health_interval,
            timeout: builder.environment.timeouts.probe,
            name: properties.health_name.clone(),
            recursion_desired: properties.health_recursion,
            tcp: properties.force_tcp,
        },
    };
    let tls_config = OnceLock::new();
    (all.into_iter())
        .map(|(to, word)| {
            let tls = if to.tls {
                let name = properties.server_name(&to, word)?;
                Some(Tls::new(
                    properties.tls_config(&tls_config, directive)?,
                    name,
                ))
            } else {
                None
            };
            let counters = counters.upstream(&to.address.to_string());
            Ok(Upstream::new(to.address, tls, config.clone(), counters))
        })
        .collect()
}
