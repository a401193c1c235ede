//! The rules.

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, RecordType},
};
use regex::Regex;

use super::{
    answer::{Change, Replace},
    edns::EdnsRule,
    matching::{self, Match, normal},
};
use crate::{
    corefile::{Directive, Fault, Word},
    plugin::{Failure, Request, Touch, text},
};

/// The longest TTL of a range without an end (RFC 2181 section 8).
const TTL_MAX: u32 = i32::MAX.unsigned_abs();

/// One rule.
pub(super) enum Rule {
    Name(NameRule),
    Type(RecordType, RecordType),
    Class(u16, u16),
    Edns(EdnsRule),
    Ttl {
        names: Match,
        min: u32,
        max: u32,
    },
    Rcode {
        names: Match,
        from: ResponseCode,
        to: ResponseCode,
    },
    Cname {
        target: Match,
        to: String,
    },
}

/// `name`
pub(super) struct NameRule {
    names: Match,
    to: String,
    /// Replies are about the client's name again.
    auto: bool,
    answers: Vec<AnswerRule>,
}

/// `answer name|value REGEX TO`
struct AnswerRule {
    of_owner: bool,
    regex: Regex,
    to: String,
}

/// Reads a rule behind `continue` and `stop`.
pub(super) fn read(directive: &Directive, words: &[&Word]) -> Result<Rule, Fault> {
    let [field, args @ ..] = words else {
        return Err(directive.wrong_arguments("a rule"));
    };
    let wrong = |expected: &str| {
        let last = words.last().unwrap_or(field);
        let message = format!("`{}` with {} arguments", field.text, args.len());
        Fault::new(field.span.to(last.span), message, expected)
    };
    let names = |kind: Option<&&Word>, from: &Word| match kind {
        Some(kind) => Match::read(kind, from),
        None => Ok(Match::exact(from)),
    };
    match field.text.to_ascii_lowercase().as_str() {
        "name" => NameRule::read(args, wrong).map(Rule::Name),
        "type" => {
            let [from, to] = args else {
                return Err(wrong("FROM TO"));
            };
            let rtype = |word: &Word| {
                text::rtype(&word.text).ok_or_else(|| word.not("a type, such as AAAA"))
            };
            Ok(Rule::Type(rtype(from)?, rtype(to)?))
        }
        "class" => {
            let [from, to] = args else {
                return Err(wrong("FROM TO"));
            };
            let class = |word: &Word| {
                text::class(&word.text).ok_or_else(|| word.not("a class, such as IN"))
            };
            Ok(Rule::Class(class(from)?, class(to)?))
        }
        "edns0" => EdnsRule::read(args, wrong).map(Rule::Edns),
        "ttl" => {
            let (kind, from, ttl) = match args {
                [from, ttl] => (None, from, ttl),
                [kind, from, ttl] => (Some(kind), from, ttl),
                _ => return Err(wrong("[MATCH] NAME SECONDS")),
            };
            let (min, max) = ttls(&ttl.text).ok_or_else(|| ttl.not("seconds, or MIN-MAX"))?;
            Ok(Rule::Ttl {
                names: names(kind, from)?,
                min,
                max,
            })
        }
        "rcode" => {
            let (kind, name, from, to) = match args {
                [name, from, to] => (None, name, from, to),
                [kind, name, from, to] => (Some(kind), name, from, to),
                _ => return Err(wrong("[MATCH] NAME FROM TO")),
            };
            Ok(Rule::Rcode {
                names: names(kind, name)?,
                from: rcode(from)?,
                to: rcode(to)?,
            })
        }
        "cname" => match args {
            [from, to] => Ok(Rule::Cname {
                target: Match::exact(from),
                to: normal(&to.text),
            }),
            [kind, from, to] => {
                let target = Match::of_target(kind, from)?;
                let to = match target {
                    Match::Exact(_) => normal(&to.text),
                    _ => to.text.to_ascii_lowercase(),
                };
                Ok(Rule::Cname { target, to })
            }
            _ => Err(wrong("[MATCH] FROM TO")),
        },
        "answer" => Err(field.not("a `name` rule before it")),
        _ => Err(field.not("name, type, class, edns0, ttl, rcode or cname")),
    }
}

fn rcode(word: &Word) -> Result<ResponseCode, Fault> {
    let number = word.text.parse().ok().filter(|number: &u16| *number <= 23);
    let rcode = number.map(Into::into).or_else(|| text::rcode(&word.text));
    rcode.ok_or_else(|| word.not("an RCODE, such as NXDOMAIN"))
}

/// `30`, `30-300`, `30-` or `-300`
fn ttls(text: &str) -> Option<(u32, u32)> {
    let Some((min, max)) = text.split_once('-') else {
        let ttl = text.parse().ok()?;
        return Some((ttl, ttl));
    };
    let bounds = match (min, max) {
        ("", "") => return None,
        ("", max) => (0, max.parse().ok()?),
        (min, "") => (min.parse().ok()?, TTL_MAX),
        (min, max) => (min.parse().ok()?, max.parse().ok()?),
    };
    (bounds.0 <= bounds.1).then_some(bounds)
}

impl NameRule {
    fn read(args: &[&Word], wrong: impl Fn(&str) -> Fault) -> Result<Self, Fault> {
        let (names, to, answers) = match args {
            [from, to] => (Match::exact(from), to, &[][..]),
            [kind, from, to, answers @ ..] => (Match::read(kind, from)?, to, answers),
            _ => return Err(wrong("[MATCH] FROM TO")),
        };
        let to = match &names {
            Match::Regex(regex) => matching::replacement(regex, to)?,
            _ => normal(&to.text),
        };
        let mut rule = NameRule {
            auto: matches!(names, Match::Exact(_)),
            names,
            to,
            answers: Vec::new(),
        };
        rule.read_answers(answers)?;
        Ok(rule)
    }

    fn read_answers(&mut self, mut args: &[&Word]) -> Result<(), Fault> {
        let mut auto = None;
        let mut is_first = true;
        while let [word, rest @ ..] = args {
            let kind = match (word.text.as_str(), rest) {
                ("answer", [kind, behind @ ..]) => {
                    args = behind;
                    kind
                }
                // Needed once only.
                (_, behind) if !is_first => {
                    args = behind;
                    word
                }
                _ => return Err(word.not("answer auto, answer name or answer value")),
            };
            is_first = false;
            let of_owner = match kind.text.as_str() {
                "auto" => {
                    auto = Some(kind);
                    continue;
                }
                "name" => true,
                "value" => false,
                _ => return Err(kind.not("auto, name or value")),
            };
            let [from, to, behind @ ..] = args else {
                return Err(kind.not(&format!("{} REGEX TO", kind.text)));
            };
            args = behind;
            let regex = from.regex()?;
            let to = matching::replacement(&regex, to)?;
            self.answers.push(AnswerRule {
                of_owner,
                regex,
                to,
            });
        }
        if let Some(auto) = auto {
            if self.answers.iter().any(|answer| answer.of_owner) {
                return Err(auto.not("either `auto` or `name`"));
            }
            self.auto = true;
        }
        Ok(())
    }

    /// Rewrites the name, if the rule is about it.
    fn apply<'r>(
        &'r self,
        request: &mut Request,
        changes: &mut Vec<Change<'r>>,
    ) -> Result<bool, Failure> {
        let from = text::show(&request.lower_name());
        let Some(to) = self.names.replace(&from, &self.to) else {
            return Ok(false);
        };
        request.name = matching::name(&to)
            .ok_or_else(|| Failure::new(format_args!("invalid name after rewrite: {to}")))?;
        if self.auto {
            let replace = match &self.names {
                // Other names with this end too are again as they would be without the rule.
                Match::Suffix(suffix) => Replace::Suffix {
                    from: &self.to,
                    to: suffix,
                },
                _ => Replace::Below { from: to, to: from },
            };
            changes.push(Change::Owner(replace.clone()));
            changes.push(Change::Value(replace));
        }
        changes.extend(self.answers.iter().map(|answer| {
            let replace = Replace::Regex(&answer.regex, &answer.to);
            if answer.of_owner {
                Change::Owner(replace)
            } else {
                Change::Value(replace)
            }
        }));
        Ok(true)
    }
}

impl Rule {
    /// Changes the query, if the rule is about it; and says what is to be changed in the reply.
    pub(super) fn apply<'r>(
        &'r self,
        request: &mut Request,
        changes: &mut Vec<Change<'r>>,
    ) -> Result<bool, Failure> {
        let is_one_of = |names: &Match| names.is(&text::show(&request.lower_name()));
        match self {
            Rule::Name(rule) => return rule.apply(request, changes),
            Rule::Type(from, to) if request.rtype == *from => request.rtype = *to,
            Rule::Class(from, to) if request.class == *from => request.class = *to,
            Rule::Edns(rule) => return Ok(rule.apply(request, changes)),
            Rule::Ttl { names, min, max } if is_one_of(names) => {
                changes.push(Change::Ttl {
                    min: *min,
                    max: *max,
                });
            }
            Rule::Rcode { names, from, to } if is_one_of(names) => {
                changes.push(Change::Rcode {
                    from: *from,
                    to: *to,
                });
            }
            Rule::Cname { target, to } => changes.push(Change::Cname { target, to }),
            Rule::Type(..) | Rule::Class(..) | Rule::Ttl { .. } | Rule::Rcode { .. } => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whose answers it may change.
    pub(super) fn touches(&self) -> Option<Touch> {
        match self {
            Rule::Name(NameRule { names, .. })
            | Rule::Ttl { names, .. }
            | Rule::Rcode { names, .. } => names.touches(),
            // The kernel answers for every type that a record may have (RFC 6895 section 3.1).
            Rule::Type(from, _) => {
                let is_meta = matches!(u16::from(*from), 0 | 41 | 128..=255);
                (!is_meta).then_some(Touch::Everything)
            }
            Rule::Class(from, _) => (*from == u16::from(DNSClass::IN)).then_some(Touch::Everything),
            // Any name may be an alias of one that is meant.
            Rule::Cname { .. } => Some(Touch::Everything),
            // The options of a query do not change what the cluster's names are.
            Rule::Edns(_) => None,
        }
    }
}
