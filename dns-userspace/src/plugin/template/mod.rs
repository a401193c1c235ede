//! `template`: answers that are written from the query.
//!
//! ```text
//! template CLASS TYPE [ZONE...] {
//!     match REGEX...                    names that match one of them; all unless given
//!     answer RR...                      records, as Go templates
//!     additional RR...
//!     authority RR...
//!     rcode CODE                        NOERROR unless given
//!     ederror CODE [REASON]             the extended error of the reply (RFC 8914)
//!     fallthrough [ZONE...]             what does not match is left to the next template, and the next plugin
//! }
//! ```
//!
//! Templates are tried in the order of the file. One for another zone, class or type is passed over; the first whose
//! zone, class and type are right answers, or says SERVFAIL to a name that it has no match for, unless it has
//! `fallthrough`. What records may be written with is in [`data`].
//!
//! `CoreDNS`'s `var` and `expr` are not here, nor is `.Meta`.

mod data;
mod record;

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, RecordType},
};
use regex::Regex;

use super::{
    Builder, Next, Outcome, Plugin, Reply, Request, Touch, builder::longest, reply::Flags, text,
};
use crate::corefile::{Directive, Fault};
use data::Data;
use record::{Labels, RecordTemplate, TemplateMetrics};

const CLASS_ANY: u16 = 255;
/// Extended DNS error (RFC 8914 section 2).
const OPTION_EDE: u16 = 15;

struct Templates {
    /// Of all templates: names elsewhere go on at once.
    zones: Vec<Name>,
    all: Vec<Template>,
    metrics: TemplateMetrics,
}

struct Template {
    zones: Vec<Name>,
    class: u16,
    rtype: RecordType,
    /// None: every name.
    regexes: Vec<Regex>,
    answers: Vec<RecordTemplate>,
    additionals: Vec<RecordTemplate>,
    authority: Vec<RecordTemplate>,
    rcode: ResponseCode,
    /// The data of the option.
    extended_error: Option<Vec<u8>>,
    fallthrough: Vec<Name>,
}

/// What a template does with a query.
enum Matched {
    Yes(Data),
    /// It is for others, or leaves the name to others.
    Passed,
    /// It should have, and has no match.
    No,
}

/// Reads all `template` of a server block, in the order of the file.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let templates = directives.iter().map(|directive| read(builder, directive));
    let templates: Vec<Template> = templates.collect::<Result<_, _>>()?;
    let zones = templates.iter().flat_map(|template| template.zones.clone());
    let zones = zones.collect();
    let metrics = builder.environment.metrics.of();
    builder.plugins.push(Box::new(Templates {
        zones,
        all: templates,
        metrics,
    }));
    Ok(())
}

fn read(builder: &Builder<'_>, directive: &Directive) -> Result<Template, Fault> {
    let [class, rtype, zones @ ..] = directive.args.as_slice() else {
        return Err(directive.wrong_arguments("CLASS TYPE [ZONE...]"));
    };
    let mut template = Template {
        zones: builder.zones(zones)?,
        class: text::class(&class.text).ok_or_else(|| class.not("a class, such as IN or ANY"))?,
        rtype: text::rtype(&rtype.text).ok_or_else(|| rtype.not("a type, such as A or ANY"))?,
        regexes: Vec::new(),
        answers: Vec::new(),
        additionals: Vec::new(),
        authority: Vec::new(),
        rcode: ResponseCode::NoError,
        extended_error: None,
        fallthrough: Vec::new(),
    };
    for property in directive.properties() {
        property.no_block()?;
        let args = property.args.as_slice();
        let some = || match args {
            [] => Err(property.wrong_arguments("at least one")),
            args => Ok(args.iter()),
        };
        let records = |section| {
            some()?
                .map(|word| RecordTemplate::read(section, word))
                .collect::<Result<Vec<_>, _>>()
        };
        match property.name.text.as_str() {
            "match" => {
                for regex in some()? {
                    template.regexes.push(regex.regex()?);
                }
            }
            "answer" => template.answers.extend(records("answer")?),
            "additional" => template.additionals.extend(records("additional")?),
            "authority" => template.authority.extend(records("authority")?),
            "rcode" => {
                let [rcode] = property.exactly("an RCODE")?;
                template.rcode = text::rcode(&rcode.text)
                    .ok_or_else(|| rcode.not("an RCODE, such as NXDOMAIN"))?;
            }
            "ederror" => {
                let (code, reason) = match args {
                    [code] => (code, ""),
                    [code, reason] => (code, reason.text.as_str()),
                    _ => return Err(property.wrong_arguments("CODE [REASON]")),
                };
                let code: u16 = code.parse("the number of an extended error")?;
                let bytes = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
                template.extended_error = Some(bytes);
            }
            "fallthrough" => template.fallthrough = builder.fallthrough(property)?,
            // Without effect since CoreDNS 1.5.
            "upstream" => {}
            "var" | "expr" => {
                return Err(Fault::new(
                    property.name.span,
                    format!(
                        "hopzero does not have `{}` in `template`",
                        property.name.text
                    ),
                    "a template without expressions",
                ));
            }
            _ => {
                let known = [
                    "match",
                    "answer",
                    "additional",
                    "authority",
                    "rcode",
                    "ederror",
                    "fallthrough",
                ];
                return Err(property.unknown_property("template", &known));
            }
        }
    }
    Ok(template)
}

#[async_trait]
impl Plugin for Templates {
    fn name(&self) -> &'static str {
        "template"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let name = request.lower_name();
        if longest(&self.zones, &name).is_none() {
            return next.run(request).await;
        }
        for template in &self.all {
            match template.matched(request, &name) {
                Matched::Passed => {}
                Matched::No => return Ok(Reply::bare(ResponseCode::ServFail).into()),
                Matched::Yes(data) => {
                    let labels = Labels::new(request, &data);
                    self.metrics.matches.get_or_create(&labels).inc();
                    return template
                        .answer(request, next, &data, &labels, &self.metrics)
                        .await;
                }
            }
        }
        next.run(request).await
    }

    fn touches(&self) -> Vec<Touch> {
        let in_cluster = |class: u16| class == CLASS_ANY || class == u16::from(DNSClass::IN);
        let ours = self
            .all
            .iter()
            .filter(|template| in_cluster(template.class));
        ours.flat_map(Template::touches).collect()
    }
}

impl Template {
    fn matched(&self, request: &Request, name: &Name) -> Matched {
        let Some(zone) = longest(&self.zones, name) else {
            return Matched::Passed;
        };
        let class = [self.class, request.class];
        let rtype = [self.rtype, request.rtype];
        if (class[0] != class[1] && !class.contains(&CLASS_ANY))
            || (rtype[0] != rtype[1] && !rtype.contains(&RecordType::ANY))
        {
            return Matched::Passed;
        }
        // What the query leaves open, the template says.
        let class = if class[1] == CLASS_ANY {
            class[0]
        } else {
            class[1]
        };
        let rtype = if rtype[1] == RecordType::ANY {
            rtype[0]
        } else {
            rtype[1]
        };
        let shown = text::show(name);
        let data = |regex| Data::new(request, zone, &shown, class, rtype, regex);
        if self.regexes.is_empty() {
            return Matched::Yes(data(None));
        }
        match self.regexes.iter().find(|regex| regex.is_match(&shown)) {
            Some(regex) => Matched::Yes(data(Some(regex))),
            None if longest(&self.fallthrough, name).is_some() => Matched::Passed,
            None => Matched::No,
        }
    }

    async fn answer(
        &self,
        request: &Request,
        next: Next<'_>,
        data: &Data,
        labels: &Labels,
        metrics: &TemplateMetrics,
    ) -> Outcome {
        if self.rcode == ResponseCode::ServFail {
            return Ok(Reply::bare(self.rcode).into());
        }
        let mut reply = Reply {
            flags: Flags {
                authoritative: true,
                ..Flags::default()
            },
            ..Reply::bare(self.rcode)
        };
        for template in &self.answers {
            let record = template.record(data, labels, metrics)?;
            let target = match &record.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            };
            reply.answers.push(record);
            if let Some(target) = target
                && matches!(request.rtype, RecordType::A | RecordType::AAAA)
                && let Some(found) = next.lookup(request, target, request.rtype).await
            {
                reply.flags.truncated = found.flags.truncated;
                reply.answers.extend(found.answers);
            }
        }
        for template in &self.additionals {
            reply
                .additionals
                .push(template.record(data, labels, metrics)?);
        }
        for template in &self.authority {
            reply
                .authority
                .push(template.record(data, labels, metrics)?);
        }
        let extended_error = self.extended_error.iter().cloned();
        reply
            .options
            .extend(extended_error.map(|data| (OPTION_EDE, data)));
        Ok(reply.into())
    }

    /// Everywhere but at the root a zone says best which names these may be.
    fn touches(&self) -> Vec<Touch> {
        let mut touches = Vec::new();
        for zone in &self.zones {
            let leaves_others = longest(&self.fallthrough, zone).is_some();
            if !zone.is_root() || self.regexes.is_empty() || !leaves_others {
                touches.push(Touch::Below(zone.clone()));
            } else {
                let regexes = self.regexes.iter().map(|regex| regex.as_str().to_owned());
                touches.extend(regexes.map(Touch::Matching));
            }
        }
        touches
    }
}
