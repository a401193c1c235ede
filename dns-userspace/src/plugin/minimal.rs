//! `minimal`: answers without authority and additional sections.
//!
//! ```text
//! minimal
//! ```
//!
//! Denials, errors and delegations stay whole: they mean nothing without these sections.

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

use super::{Builder, Next, Outcome, Plugin, Reply, Request, Served, Touch, args};
use crate::corefile::{Directive, Fault};

struct Minimal;

/// Reads `minimal`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.exactly::<0>("no arguments")?;
    directive.no_block()?;
    builder.plugins.push(Box::new(Minimal));
    Ok(())
}

#[async_trait]
impl Plugin for Minimal {
    fn name(&self) -> &'static str {
        "minimal"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let mut outcome = next.run(request).await;
        if let Ok(Served::Reply(reply)) = &mut outcome
            && is_positive(reply)
        {
            reply.authority.clear();
            reply.additionals.clear();
        }
        outcome
    }

    fn touches(&self) -> Vec<Touch> {
        // The kernel's SRV answers have additional records. Denials stay as they are.
        vec![Touch::Present(Name::root())]
    }
}

fn is_positive(reply: &Reply) -> bool {
    let means_more = |rtype: RecordType| matches!(rtype, RecordType::SOA | RecordType::NS);
    reply.rcode == ResponseCode::NoError
        && (!reply.answers.is_empty()
            || !(reply.authority.iter()).any(|record| means_more(record.record_type())))
}
