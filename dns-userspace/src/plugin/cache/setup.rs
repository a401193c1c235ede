//! Reads `cache`.

use std::{hash::RandomState, sync::Arc, time::Duration};

use hickory_proto::rr::Name;

use super::{
    super::{Builder, args, zones::Zones},
    Cache, Config, Inner, Prefetch, Side, Stale,
    counters::{CacheMetrics, Tellers},
    shelves::Shelves,
};
use crate::corefile::{Directive, Fault, Word};

const CAPACITY_DEFAULT: usize = 10_000;
const TTL_MIN: Duration = Duration::from_secs(5);
const SUCCESS_TTL_MAX: Duration = Duration::from_hours(1);
const DENIAL_TTL_MAX: Duration = Duration::from_mins(30);
const SERVFAIL_DEFAULT: Duration = Duration::from_secs(5);
/// RFC 2308 section 7.1.
const SERVFAIL_MAX: Duration = Duration::from_mins(5);
const PREFETCH_PAUSE: Duration = Duration::from_mins(1);
const PREFETCH_PERCENT: u32 = 10;
const STALE_DEFAULT: Duration = Duration::from_hours(1);
/// RFC 8767 section 5.
const RECHECK_MAX: Duration = Duration::from_mins(5);

const PROPERTIES: &[&str] = &[
    "success",
    "denial",
    "servfail",
    "prefetch",
    "serve_stale",
    "serve_stale_policy",
    "disable",
    "keepttl",
];

/// Reads `cache`.
pub(in crate::plugin) fn setup(
    builder: &mut Builder<'_>,
    directives: &[&Directive],
) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let side = |ttl_max| Side {
        capacity: CAPACITY_DEFAULT,
        ttl_max,
        ttl_min: TTL_MIN,
        except: Zones::default(),
    };
    let (mut success, mut denial) = (side(SUCCESS_TTL_MAX), side(DENIAL_TTL_MAX));
    let mut zones = directive.args.as_slice();
    // A number is no zone.
    if let Some((first, rest)) = zones.split_first()
        && first.text.parse::<i64>().is_ok()
    {
        let ttl = ttl(first)?;
        (success.ttl_max, denial.ttl_max) = (ttl, ttl);
        zones = rest;
    }
    let zones = builder.zones(zones)?;
    let mut config = Config {
        zones: Zones::new(&zones),
        success,
        denial,
        servfail: SERVFAIL_DEFAULT,
        prefetch: None,
        stale_max: Duration::ZERO,
        stale: Stale::default(),
        prefer_positive: false,
        keep_ttl: false,
    };
    for property in directive.properties() {
        config.read(builder, property)?;
    }
    let properties = directive.properties();
    let named = |name: &str| {
        properties
            .iter()
            .find(|property| property.name.text == name)
    };
    if let Some(policy) = named("serve_stale_policy")
        && named("serve_stale").is_none()
    {
        return Err(Fault::new(
            policy.span(),
            "`serve_stale_policy` without `serve_stale`",
            "both, or none",
        ));
    }
    let label: Vec<String> = zones.iter().map(Name::to_ascii).collect();
    let metrics: CacheMetrics = builder.environment.metrics.of();
    builder.plugins.push(Box::new(Cache(Arc::new(Inner {
        hasher: RandomState::new(),
        successes: Shelves::new(config.success.capacity),
        denials: Shelves::new(config.denial.capacity),
        tellers: Tellers::new(metrics, label.join(",")),
        config,
    }))));
    Ok(())
}

impl Config {
    fn read(&mut self, builder: &Builder<'_>, property: &Directive) -> Result<(), Fault> {
        match property.name.text.as_str() {
            "success" => side(&mut self.success, property)?,
            "denial" => side(&mut self.denial, property)?,
            "servfail" => {
                let [word] = property.exactly("a duration")?;
                self.servfail = word.duration()?;
                if self.servfail > SERVFAIL_MAX {
                    return Err(word.not("5 minutes at most"));
                }
            }
            "prefetch" => self.prefetch = prefetch(property)?,
            "serve_stale" => self.serve_stale(property)?,
            "serve_stale_policy" => {
                let [word] = property.exactly("prefer_positive")?;
                if self.prefer_positive {
                    return Err(Fault::new(
                        property.span(),
                        "`serve_stale_policy` twice",
                        "only one",
                    ));
                }
                if !word.text.eq_ignore_ascii_case("prefer_positive") {
                    return Err(word.not("prefer_positive"));
                }
                self.prefer_positive = true;
            }
            "disable" => {
                let [which, zones @ ..] = property.args.as_slice() else {
                    return Err(property.wrong_arguments("success or denial, and zones"));
                };
                let side = match which.text.as_str() {
                    "success" => &mut self.success,
                    "denial" => &mut self.denial,
                    _ => return Err(which.not("success or denial")),
                };
                side.except = match zones {
                    [] => Zones::new(&[Name::root()]),
                    zones => Zones::new(&builder.zones(zones)?),
                };
            }
            "keepttl" => {
                property.exactly::<0>("no arguments")?;
                self.keep_ttl = true;
            }
            _ => return Err(property.unknown_property("cache", PROPERTIES)),
        }
        Ok(())
    }

    fn serve_stale(&mut self, property: &Directive) -> Result<(), Fault> {
        const EXPECTED: &str =
            "[DURATION] [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]";
        let (duration, mode) = match property.args.as_slice() {
            [] => (None, None),
            [duration] => (Some(duration), None),
            [duration, mode @ ..] => (Some(duration), mode.split_first()),
        };
        self.stale_max = duration.map_or(Ok(STALE_DEFAULT), Word::duration)?;
        self.stale = Stale::default();
        let Some((mode, mut words)) = mode else {
            return Ok(());
        };
        match mode.text.to_ascii_lowercase().as_str() {
            "immediate" => {}
            "verify" => {
                self.stale.verify = true;
                if let Some((timeout, rest)) = words.split_first() {
                    self.stale.timeout = timeout.duration()?;
                    words = rest;
                }
            }
            _ => return Err(mode.not("immediate or verify")),
        }
        let (ttl, recheck) = match words {
            [] => (None, None),
            [ttl] => (Some(ttl), None),
            [ttl, recheck] => (Some(ttl), Some(recheck)),
            _ => return Err(property.wrong_arguments(EXPECTED)),
        };
        if let Some(word) = ttl {
            let ttl = word.duration()?;
            let seconds = u32::try_from(ttl.as_secs()).ok();
            let whole = seconds.filter(|_| ttl.subsec_nanos() == 0);
            self.stale.ttl = whole.ok_or_else(|| word.not("whole seconds"))?;
        }
        if let Some(word) = recheck {
            self.stale.recheck = word.duration()?;
            if self.stale.recheck > RECHECK_MAX {
                return Err(word.not("5 minutes at most"));
            }
        }
        Ok(())
    }
}

/// `CAPACITY [TTL] [MINTTL]`
fn side(side: &mut Side, property: &Directive) -> Result<(), Fault> {
    let words = property.args.as_slice();
    let ([capacity] | [capacity, _] | [capacity, _, _]) = words else {
        return Err(property.wrong_arguments("CAPACITY [TTL] [MINTTL]"));
    };
    side.capacity = capacity.parse("a number of entries")?;
    if let Some(word) = words.get(1) {
        side.ttl_max = ttl(word)?;
    }
    if let Some(word) = words.get(2) {
        side.ttl_min = Duration::from_secs(word.parse::<u32>("a number of seconds")?.into());
    }
    Ok(())
}

/// `AMOUNT [DURATION [PERCENT%]]`
fn prefetch(property: &Directive) -> Result<Option<Prefetch>, Fault> {
    let words = property.args.as_slice();
    let ([amount] | [amount, _] | [amount, _, _]) = words else {
        return Err(property.wrong_arguments("AMOUNT [DURATION [PERCENT%]]"));
    };
    let amount = amount.parse("a number of queries")?;
    let mut prefetch = Prefetch {
        amount,
        pause: PREFETCH_PAUSE,
        percent: PREFETCH_PERCENT,
    };
    if let Some(word) = words.get(1) {
        prefetch.pause = word.duration()?;
    }
    if let Some(word) = words.get(2) {
        let number = word
            .text
            .strip_suffix('%')
            .and_then(|number| number.parse().ok());
        let percent = number.filter(|percent| (10..=90).contains(percent));
        prefetch.percent = percent.ok_or_else(|| word.not("10% to 90%"))?;
    }
    Ok((amount > 0).then_some(prefetch))
}

/// At least a second: 0 is `CoreDNS`'s for the future.
fn ttl(word: &Word) -> Result<Duration, Fault> {
    let seconds: u32 = word.parse("a number of seconds above 0")?;
    if seconds == 0 {
        return Err(word.not("a number of seconds above 0"));
    }
    Ok(Duration::from_secs(seconds.into()))
}
