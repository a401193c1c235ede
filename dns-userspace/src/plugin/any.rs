//! `any`: one small record for queries of type ANY (RFC 8482 section 4.2).
//!
//! ```text
//! any
//! ```

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{RData, Record, RecordType, rdata::HINFO},
};

use super::{Builder, Next, Outcome, Plugin, Reply, Request, Touch, args};
use crate::corefile::{Directive, Fault};

/// As in `CoreDNS`, after the RFC.
const TTL: u32 = 8482;

struct Any;

/// Reads `any`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.exactly::<0>("no arguments")?;
    directive.no_block()?;
    builder.plugins.push(Box::new(Any));
    Ok(())
}

#[async_trait]
impl Plugin for Any {
    fn name(&self) -> &'static str {
        "any"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        if request.rtype != RecordType::ANY {
            return next.run(request).await;
        }
        let (cpu, os) = ("ANY obsoleted", "See RFC 8482");
        let data = RData::HINFO(HINFO::new(cpu.to_owned(), os.to_owned()));
        Ok(Reply {
            answers: vec![Record::from_rdata(request.name.clone(), TTL, data)],
            ..Reply::bare(ResponseCode::NoError)
        }
        .into())
    }

    fn touches(&self) -> Vec<Touch> {
        // The kernel has no answer to ANY.
        Vec::new()
    }
}
