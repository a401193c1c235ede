//! `bufsize`: what is answered over UDP is no longer than this, whatever the client takes.
//!
//! ```text
//! bufsize [BYTES]           512 to 4096; 1232 unless given
//! ```
//!
//! Longer answers are truncated. What this server sends is never longer than 1232 bytes anyway.

use async_trait::async_trait;
use hickory_proto::rr::Name;

use super::{Builder, Next, Outcome, Plugin, Request, Touch, args};
use crate::{
    corefile::{Directive, Fault},
    socket::UDP_ANSWER_BYTES_MAX,
};

/// The longest denial of a name: header, question, a SOA record whose owner is a pointer, and OPT.
const DENIAL_BYTES_MAX: u16 = 12 + (255 + 4) + (12 + 255 + 255 + 20) + 11;

const BYTES_MIN: u16 = 512;
const BYTES_MAX: u16 = 4096;

struct Bufsize(u16);

/// Reads `bufsize`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.no_block()?;
    let bytes = match directive.at_most_one("a number of bytes at most")? {
        None => UDP_ANSWER_BYTES_MAX,
        Some(word) => {
            let bytes = word.text.parse().ok();
            bytes
                .filter(|bytes| (BYTES_MIN..=BYTES_MAX).contains(bytes))
                .ok_or_else(|| word.not("512 to 4096 bytes"))?
        }
    };
    builder.plugins.push(Box::new(Bufsize(bytes)));
    Ok(())
}

#[async_trait]
impl Plugin for Bufsize {
    fn name(&self) -> &'static str {
        "bufsize"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        if let Some(edns) = &mut request.edns {
            // Not put back: whoever writes the reply has to see it.
            edns.udp_bytes = edns.udp_bytes.min(self.0);
        }
        next.run(request).await
    }

    fn touches(&self) -> Vec<Touch> {
        // The kernel's answers may be longer.
        match self.0 {
            UDP_ANSWER_BYTES_MAX.. => Vec::new(),
            DENIAL_BYTES_MAX.. => vec![Touch::Present(Name::root())],
            _ => vec![Touch::Everything],
        }
    }
}
