//! `header`: sets and clears bits of the header.
//!
//! ```text
//! header {
//!     query set|clear FLAGS...          aa, ra, rd; of which only rd means something in a query
//!     response set|clear FLAGS...
//! }
//! ```
//!
//! What a `query` rule does to RD is not seen by the client: the response has the RD that was sent (RFC 1035 section
//! 4.1.1), unless a `response` rule is about it.

use async_trait::async_trait;

use super::{Builder, Next, Outcome, Plugin, Reply, Request, Served, Touch, args};
use crate::corefile::{Directive, Fault};

struct Header {
    query: Vec<(Flag, bool)>,
    response: Vec<(Flag, bool)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Flag {
    Authoritative,
    RecursionAvailable,
    RecursionDesired,
}

/// Reads `header`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.exactly::<0>("no arguments")?;
    let (mut query, mut response) = (Vec::new(), Vec::new());
    for line in directive.properties() {
        line.no_block()?;
        let is_query = match line.name.text.to_ascii_lowercase().as_str() {
            "query" => true,
            "response" => false,
            _ => return Err(line.unknown_property("header", &["query", "response"])),
        };
        let [action, flags @ ..] = line.args.as_slice() else {
            return Err(line.wrong_arguments("set or clear, and flags"));
        };
        let is_set = match action.text.to_ascii_lowercase().as_str() {
            "set" => true,
            "clear" => false,
            _ => return Err(action.not("set or clear")),
        };
        if flags.is_empty() {
            return Err(line.wrong_arguments("at least one flag"));
        }
        for word in flags {
            let flag = match word.text.to_ascii_lowercase().as_str() {
                "aa" => Flag::Authoritative,
                "ra" => Flag::RecursionAvailable,
                "rd" => Flag::RecursionDesired,
                _ => return Err(word.not("aa, ra or rd")),
            };
            let rules = if is_query { &mut query } else { &mut response };
            rules.push((flag, is_set));
        }
    }
    if query.is_empty() && response.is_empty() {
        return Err(directive.wrong_arguments("a block with rules"));
    }
    builder.plugins.push(Box::new(Header { query, response }));
    Ok(())
}

#[async_trait]
impl Plugin for Header {
    fn name(&self) -> &'static str {
        "header"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let desired = request.header.recursion_desired;
        for (flag, is_set) in &self.query {
            // A query's AA and RA mean nothing.
            if *flag == Flag::RecursionDesired {
                request.header.recursion_desired = *is_set;
            }
        }
        let mut outcome = next.run(request).await;
        request.header.recursion_desired = desired;
        if let Ok(Served::Reply(reply)) = &mut outcome {
            self.change(request, reply);
        }
        outcome
    }

    fn touches(&self) -> Vec<Touch> {
        // Queries with and without RD have the same answers in the cluster, and these have AA anyway.
        let changes_nothing = |rule: &(Flag, bool)| *rule == (Flag::Authoritative, true);
        if self.response.iter().all(changes_nothing) {
            Vec::new()
        } else {
            vec![Touch::Everything]
        }
    }
}

impl Header {
    fn change(&self, request: &mut Request, reply: &mut Reply) {
        for (flag, is_set) in &self.response {
            match flag {
                Flag::Authoritative => reply.flags.authoritative = *is_set,
                Flag::RecursionAvailable => reply.flags.recursion_available = *is_set,
                // It is copied from there.
                Flag::RecursionDesired => request.header.recursion_desired = *is_set,
            }
        }
    }
}
