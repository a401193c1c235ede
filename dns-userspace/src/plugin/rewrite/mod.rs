//! `rewrite`: changes what is asked, and what is answered.
//!
//! ```text
//! rewrite [continue|stop] name [MATCH] FROM TO [ANSWER...]
//! rewrite [continue|stop] type FROM TO
//! rewrite [continue|stop] class FROM TO
//! rewrite [continue|stop] edns0 local|nsid|subnet set|append|replace|unset ... [revert]
//! rewrite [continue|stop] ttl [MATCH] NAME SECONDS|MIN-MAX
//! rewrite [continue|stop] rcode [MATCH] NAME FROM TO
//! rewrite [continue|stop] cname [MATCH] FROM TO
//!
//! MATCH     exact (unless given), prefix, suffix, substring, regex
//! ANSWER    answer auto | answer name REGEX TO | answer value REGEX TO
//! ```
//!
//! ```text
//! query ──▶ rule 1 ──▶ rule 2 ──▶ … ──▶ next plugin      up to the first that changes something, or on behind `continue`
//! reply ◀── rule 1 ◀── rule 2 ◀── … ◀──────┘             what these rules do to replies, in the other order
//! ```
//!
//! Names are text here, in lower case and with a dot at the end: `prefix`, `suffix` and `substring` have the dot too,
//! and `{1}` in TO is what the first group of the expression matched. The reply has the question of the client
//! whatever was asked.
//!
//! What `CoreDNS` does differently: there, plugins ahead of this one (`log`, `errors`, metrics) see the query as it was
//! rewritten, and a client without EDNS gets an OPT record if `edns0` made one (RFC 6891 section 6.1.1 forbids that).

mod answer;
mod edns;
mod matching;
mod rule;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;

use super::{Builder, Failure, Next, Outcome, Plugin, Request, Served, Touch};
use crate::corefile::{Directive, Fault, Word};
use answer::Change;
use rule::Rule;

struct Rewrite {
    rules: Vec<(Mode, Rule)>,
}

/// What happens behind a rule that applied.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Stop,
    Continue,
}

/// Reads all `rewrite` of a server block, in the order of the file.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let rules = directives.iter().map(|directive| read(directive));
    let rules = rules.collect::<Result<_, _>>()?;
    builder.plugins.push(Box::new(Rewrite { rules }));
    Ok(())
}

fn read(directive: &Directive) -> Result<(Mode, Rule), Fault> {
    let mut words: Vec<&Word> = directive.args.iter().collect();
    // A rule may be written as a block, on any number of lines.
    if words.len() < 2 {
        for line in directive.properties() {
            line.no_block()?;
            words.push(&line.name);
            words.extend(&line.args);
        }
    } else {
        directive.no_block()?;
    }
    let (mode, words) = match words.as_slice() {
        [first, rest @ ..] if first.text.eq_ignore_ascii_case("continue") => (Mode::Continue, rest),
        [first, rest @ ..] if first.text.eq_ignore_ascii_case("stop") => (Mode::Stop, rest),
        words => (Mode::Stop, words),
    };
    Ok((mode, rule::read(directive, words)?))
}

#[async_trait]
impl Plugin for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let before = (
            request.name.clone(),
            request.rtype,
            request.class,
            request.edns.clone(),
        );
        let mut changes = Vec::new();
        let rewritten = self.ask(request, &mut changes);
        let mut outcome = match rewritten {
            Ok(()) => next.run(request).await,
            Err(failure) => Err(failure),
        };
        match &mut outcome {
            Ok(Served::Reply(reply)) => answer::change(reply, &changes, request, next).await,
            Ok(Served::Silence) => {}
            Err(failure) => failure.rcode = rcode_after(failure.rcode, &changes),
        }
        (request.name, request.rtype, request.class, request.edns) = before;
        outcome
    }

    fn touches(&self) -> Vec<Touch> {
        self.rules
            .iter()
            .filter_map(|(_, rule)| rule.touches())
            .collect()
    }
}

impl Rewrite {
    /// Changes the query; `changes` are those of the reply.
    fn ask<'r>(
        &'r self,
        request: &mut Request,
        changes: &mut Vec<Change<'r>>,
    ) -> Result<(), Failure> {
        for (mode, rule) in &self.rules {
            if rule.apply(request, changes)? && *mode == Mode::Stop {
                break;
            }
        }
        Ok(())
    }
}

fn rcode_after(rcode: ResponseCode, changes: &[Change<'_>]) -> ResponseCode {
    changes
        .iter()
        .rev()
        .fold(rcode, |rcode, change| match change {
            Change::Rcode { from, to } if *from == rcode => *to,
            _ => rcode,
        })
}
