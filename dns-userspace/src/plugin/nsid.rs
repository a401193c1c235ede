//! `nsid`: says which server answers, to those who ask (RFC 5001).
//!
//! ```text
//! nsid [WORDS...]           the name of the host unless given
//! ```

use async_trait::async_trait;

use super::{Builder, Next, Outcome, Plugin, Request, Served, Touch, args, chaos};
use crate::corefile::{Directive, Fault};

const OPTION_NSID: u16 = 3;

struct Nsid(Vec<u8>);

/// Reads `nsid`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.no_block()?;
    let words: Vec<&str> = directive
        .args
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    let id = match words.as_slice() {
        [] => chaos::hostname(),
        words => words.join(" "),
    };
    builder.plugins.push(Box::new(Nsid(id.into())));
    Ok(())
}

#[async_trait]
impl Plugin for Nsid {
    fn name(&self) -> &'static str {
        "nsid"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let is_asked =
            (request.edns.as_ref()).is_some_and(|edns| edns.option(OPTION_NSID).is_some());
        let mut outcome = next.run(request).await;
        if let Ok(Served::Reply(reply)) = &mut outcome
            && is_asked
        {
            // Another server's means nothing to the client.
            reply.options.retain(|(code, _)| *code != OPTION_NSID);
            reply.options.push((OPTION_NSID, self.0.clone()));
        }
        outcome
    }

    fn touches(&self) -> Vec<Touch> {
        // The kernel passes queries with that option.
        Vec::new()
    }
}
