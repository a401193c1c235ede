//! The properties in the block of a `forward`.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock, atomic::AtomicUsize},
    time::Duration,
};

use hickory_proto::{op::ResponseCode, rr::Name};
use rustls::{ClientConfig, pki_types::ServerName};

use super::{super::Builder, policy::Policy, tls, to::To};
use crate::corefile::{Directive, Fault, Word};

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

/// What they say, or else what holds without them.
#[expect(clippy::struct_excessive_bools, reason = "that is what they are")]
pub struct Properties<'d> {
    /// `except`
    pub except: Vec<Name>,
    /// `force_tcp`
    pub force_tcp: bool,
    /// `prefer_udp`
    pub prefer_udp: bool,
    /// `expire`
    pub expire: Duration,
    /// `max_age`, and where it stands
    pub max_age: Option<(Duration, &'d Word)>,
    /// `max_idle_conns`; 0: without limit
    pub max_idle: usize,
    /// `read_timeout`
    pub read_timeout: Duration,
    /// `max_fails`
    pub max_fails: u32,
    /// `max_connect_attempts`
    pub attempts_max: Option<usize>,
    /// `tls`
    pub tls: tls::Files,
    /// `tls_servername`
    pub tls_servername: Option<&'d Word>,
    /// `policy`
    pub policy: Policy,
    /// `health_check`
    pub health_interval: Duration,
    /// RD of checks
    pub health_recursion: bool,
    /// What checks ask for
    pub health_name: Name,
    /// `max_concurrent`; 0: without limit
    pub max_concurrent: u64,
    /// `next`
    pub next: Vec<ResponseCode>,
    /// `next_on_nodata`
    pub next_on_nodata: bool,
    /// `failfast_all_unhealthy_upstreams`
    pub fail_fast: bool,
    /// `failover`
    pub failover: Vec<ResponseCode>,
    /// `source_address`
    pub source: Option<IpAddr>,
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

impl<'d> Properties<'d> {
    /// Reads one of them.
    pub fn read(&mut self, builder: &Builder<'_>, property: &'d Directive) -> Result<(), Fault> {
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
            "tls" => self.tls = files(builder, property)?,
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
    pub fn server_name(&self, to: &To, word: &Word) -> Result<ServerName<'static>, Fault> {
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

    /// What `tls` says, read once.
    pub fn tls_config(
        &self,
        made: &OnceLock<Arc<ClientConfig>>,
        directive: &Directive,
    ) -> Result<Arc<ClientConfig>, Fault> {
        if let Some(config) = made.get() {
            return Ok(Arc::clone(config));
        }
        let property = (directive.properties().iter()).find(|p| p.name.text == "tls");
        let span = property.map_or(directive.span(), Directive::span);
        let config = tls::config(&self.tls)
            .map_err(|message| Fault::new(span, message, "certificates in PEM files"))?;
        Ok(Arc::clone(made.get_or_init(|| config)))
    }
}

/// `tls [CA]`, or `tls CERT KEY [CA]`.
fn files(builder: &Builder<'_>, property: &Directive) -> Result<tls::Files, Fault> {
    match property.args.as_slice() {
        [] => Ok(tls::Files::default()),
        [roots] => Ok(tls::Files {
            own: None,
            roots: Some(builder.path(roots)),
        }),
        [certificate, key, roots @ ..] if roots.len() <= 1 => Ok(tls::Files {
            own: Some((builder.path(certificate), builder.path(key))),
            roots: roots.first().map(|roots| builder.path(roots)),
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
