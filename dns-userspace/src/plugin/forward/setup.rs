//! Reading `forward`.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, OnceLock, atomic::AtomicUsize},
    time::Duration,
};

use hickory_proto::{op::ResponseCode, rr::Name};
use rustls::{ClientConfig, pki_types::ServerName};

use super::{
    super::Builder,
    Forward,
    counters::ForwardCounters,
    flight::Flights,
    policy::Policy,
    tls::{self, Tls},
    to::{self, To},
    upstream::{HealthConfig, Upstream, UpstreamConfig},
    walk::Upstreams,
};
use crate::corefile::{Directive, Fault, Word, key};

/// Upstreams of one directive.
const UPSTREAMS_MAX: usize = 15;
/// Attempts for one query, for each upstream.
const ATTEMPTS_PER_UPSTREAM: usize = 2;
const READ_TIMEOUT: Duration = Duration::from_secs(2);
const EXPIRE: Duration = Duration::from_secs(10);
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
const MAX_FAILS: u32 = 2;

const PROPERTIES: &[&str] = &[
    "except",
    "expire",
    "failfast_all_unhealthy_upstreams",
    "failover",
    "force_tcp",
    "health_check",
    "max_age",
    "max_concurrent",
    "max_connect_attempts",
    "max_fails",
    "max_idle_conns",
    "next",
    "next_on_nodata",
    "policy",
    "prefer_udp",
    "read_timeout",
    "source_address",
    "tls",
    "tls_servername",
];

/// Reads every `forward` of a server block; the queries go through them in the order of the file.
pub(in super::super) fn setup(
    builder: &mut Builder<'_>,
    directives: &[&Directive],
) -> Result<(), Fault> {
    for (index, directive) in directives.iter().enumerate() {
        let has_next = index + 1 < directives.len();
        let forward = read(builder, directive, has_next)?;
        builder
            .environment
            .add_forward(Arc::clone(&forward.upstreams.counters));
        builder.plugins.push(Box::new(forward));
    }
    Ok(())
}

/// The properties of one directive while they are read.
struct Properties<'d> {
    except: Vec<Name>,
    force_tcp: bool,
    prefer_udp: bool,
    expire: Duration,
    max_age: Option<(Duration, &'d Word)>,
    max_idle: usize,
    read_timeout: Duration,
    max_fails: u32,
    attempts_max: Option<usize>,
    tls: tls::Files<'d>,
    tls_servername: Option<&'d Word>,
    policy: Policy,
    health_interval: Duration,
    health_recursion: bool,
    health_name: Name,
    max_concurrent: u64,
    next: Vec<ResponseCode>,
    next_on_nodata: bool,
    fail_fast: bool,
    failover: Vec<ResponseCode>,
    source: Option<IpAddr>,
}

impl Default for Properties<'_> {
    fn default() -> Self {
        Properties {
            except: Vec::new(),
            force_tcp: false,
            prefer_udp: false,
            expire: EXPIRE,
            max_age: None,
            max_idle: 0,
            read_timeout: READ_TIMEOUT,
            max_fails: MAX_FAILS,
            attempts_max: None,
            tls: tls::Files::default(),
            tls_servername: None,
            policy: Policy::default(),
            health_interval: HEALTH_INTERVAL,
            health_recursion: true,
            health_name: Name::root(),
            max_concurrent: 0,
            next: Vec::new(),
            next_on_nodata: false,
            fail_fast: false,
            failover: Vec::new(),
            source: None,
        }
    }
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
    let upstreams = upstreams(builder, directive, to, &properties)?;
    let counters = Arc::new(ForwardCounters {
        upstreams: (upstreams.iter())
            .map(|upstream| Arc::clone(&upstream.counters))
            .collect(),
        ..ForwardCounters::default()
    });
    let attempts = ATTEMPTS_PER_UPSTREAM * upstreams.len();
    Ok(Forward {
        from,
        except: properties.except,
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
    })
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
            Ok(Upstream::new(to.address, tls, config.clone()))
        })
        .collect()
}

impl<'d> Properties<'d> {
    fn read(&mut self, builder: &Builder<'_>, property: &'d Directive) -> Result<(), Fault> {
        let flag = || property.exactly::<0>("no arguments").map(|[]| true);
        let duration = || {
            property
                .exactly("a duration")
                .and_then(|[word]| word.duration())
        };
        match property.name.text.as_str() {
            "except" if property.args.is_empty() => {
                return Err(property.wrong_arguments("domains or networks"));
            }
            "except" => self.except.extend(builder.zones(&property.args)?),
            "force_tcp" => self.force_tcp = flag()?,
            "prefer_udp" => self.prefer_udp = flag()?,
            "expire" => self.expire = duration()?,
            "max_age" => {
                let [word] = property.exactly("a duration")?;
                // 0 is CoreDNS's way of saying that there is no limit.
                self.max_age = Some((word.duration()?, word)).filter(|(age, _)| !age.is_zero());
            }
            "max_idle_conns" => self.max_idle = number(property)?,
            "read_timeout" => {
                let [word] = property.exactly("a duration")?;
                self.read_timeout = word.duration()?;
                if self.read_timeout.is_zero() {
                    return Err(word.not("a duration above 0"));
                }
            }
            "max_fails" => self.max_fails = number(property)?,
            "max_connect_attempts" => self.attempts_max = Some(number(property)?),
            "tls" => self.tls = files(property)?,
            "tls_servername" => {
                let [name] = property.exactly("the name in the upstreams' certificates")?;
                self.tls_servername = Some(name);
            }
            "policy" => self.policy = policy(property)?,
            "health_check" => self.health_check(property)?,
            "max_concurrent" => self.max_concurrent = number(property)?,
            "next" => self.next.extend(rcodes(property)?),
            "next_on_nodata" => self.next_on_nodata = flag()?,
            "failfast_all_unhealthy_upstreams" => self.fail_fast = flag()?,
            "failover" => {
                let named = rcodes(property)?;
                if let Some(at) = named.iter().position(|r| *r == ResponseCode::NoError) {
                    return Err(property.args[at].not("RCODEs other than NOERROR"));
                }
                self.failover.extend(named);
            }
            "source_address" => {
                let [address] = property.exactly("an address")?;
                self.source = Some(address.parse("an IP address")?);
            }
            name @ ("resolver" | "doh_method") => {
                return Err(Fault::new(
                    property.name.span,
                    format!("hopzero does not have `{name}` of CoreDNS's `forward`"),
                    "upstreams by address, asked over `dns://` or `tls://`",
                ));
            }
            _ => return Err(property.unknown_property("forward", PROPERTIES)),
        }
        Ok(())
    }

    fn health_check(&mut self, property: &Directive) -> Result<(), Fault> {
        let expected = "DURATION [no_rec] [domain FQDN]";
        let [interval, options @ ..] = property.args.as_slice() else {
            return Err(property.wrong_arguments(expected));
        };
        self.health_interval = interval.duration()?;
        self.health_name = Name::root();
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.text.as_str() {
                "no_rec" => self.health_recursion = false,
                "domain" => {
                    let Some(word) = options.next() else {
                        return Err(property.wrong_arguments(expected));
                    };
                    let name = Name::from_utf8(&word.text);
                    self.health_name = name.map_err(|_| word.not("a domain"))?;
                }
                _ => return Err(option.not("no_rec, or domain and its name")),
            }
        }
        Ok(())
    }

    /// What the certificate must be for: the name of the directive or of the upstream, or else its address.
    fn server_name(&self, to: &To, word: &Word) -> Result<ServerName<'static>, Fault> {
        let (name, word) = match (self.tls_servername, &to.server_name) {
            (None, None) => return Ok(ServerName::from(to.address.ip())),
            (Some(_), Some(_)) => {
                return Err(word.not("no name here, since `tls_servername` gives one"));
            }
            (Some(name), None) => (name.text.clone(), name),
            (None, Some(name)) => (name.clone(), word),
        };
        ServerName::try_from(name).map_err(|_| word.not("the name of a server"))
    }

    fn tls_config(
        &self,
        made: &OnceLock<Arc<ClientConfig>>,
        directive: &Directive,
    ) -> Result<Arc<ClientConfig>, Fault> {
        if let Some(config) = made.get() {
            return Ok(Arc::clone(config));
        }
        let property = (directive.properties().iter()).find(|p| p.name.text == "tls");
        let span = property.map_or(directive.span(), Directive::span);
        let config = tls::config(self.tls)
            .map_err(|message| Fault::new(span, message, "certificates in PEM files"))?;
        Ok(Arc::clone(made.get_or_init(|| config)))
    }
}

/// `tls [CA]`, or `tls CERT KEY [CA]`.
fn files(property: &Directive) -> Result<tls::Files<'_>, Fault> {
    match property.args.as_slice() {
        [] => Ok(tls::Files::default()),
        [roots] => Ok(tls::Files {
            own: None,
            roots: Some(Path::new(&roots.text)),
        }),
        [certificate, key, roots @ ..] if roots.len() <= 1 => Ok(tls::Files {
            own: Some((Path::new(&certificate.text), Path::new(&key.text))),
            roots: roots.first().map(|roots| Path::new(&roots.text)),
        }),
        _ => Err(property.wrong_arguments("[CA], or CERT KEY [CA]")),
    }
}

fn policy(property: &Directive) -> Result<Policy, Fault> {
    let [word] = property.exactly("random, round_robin or sequential")?;
    match word.text.as_str() {
        "random" => Ok(Policy::Random),
        "round_robin" => Ok(Policy::RoundRobin(AtomicUsize::new(0))),
        "sequential" => Ok(Policy::Sequential),
        _ => Err(word.not("random, round_robin or sequential")),
    }
}

fn number<T: std::str::FromStr>(property: &Directive) -> Result<T, Fault> {
    let [word] = property.exactly("a number")?;
    word.parse("a number, not negative")
}

fn rcodes(property: &Directive) -> Result<Vec<ResponseCode>, Fault> {
    if property.args.is_empty() {
        return Err(property.wrong_arguments("RCODEs such as SERVFAIL"));
    }
    (property.args.iter())
        .map(|word| rcode(&word.text).ok_or_else(|| word.not("an RCODE such as SERVFAIL")))
        .collect()
}

/// The RCODE of a name, by the names that `CoreDNS` knows.
fn rcode(name: &str) -> Option<ResponseCode> {
    const NAMES: [&str; 24] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
        "",
        "",
        "",
        "",
        "BADSIG",
        "BADKEY",
        "BADTIME",
        "BADMODE",
        "BADNAME",
        "BADALG",
        "BADTRUNC",
        "BADCOOKIE",
    ];
    let name = match name.to_ascii_uppercase().as_str() {
        "" => return None,
        "NOTIMPL" => "NOTIMP".to_owned(),
        "BADVERS" => "BADSIG".to_owned(),
        _ => name.to_ascii_uppercase(),
    };
    let code = NAMES.iter().position(|known| *known == name)?;
    let code = u8::try_from(code).ok()?;
    // The upper bits are OPT's.
    Some(ResponseCode::from(code >> 4, code & 0x0f))
}
