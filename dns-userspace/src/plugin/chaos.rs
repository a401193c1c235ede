//! `chaos`: says what this is, in class CH (RFC 4892).
//!
//! ```text
//! chaos [VERSION] [AUTHORS...]
//! ```
//!
//! | TXT of | is |
//! |---|---|
//! | `version.bind`, `version.server` | VERSION, or else hopzero's |
//! | `authors.bind` | AUTHORS, in a random order |
//! | `hostname.bind`, `id.server` | the host's name |

use std::{collections::BTreeSet, fs};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, RData, Record, RecordType, rdata::TXT},
};

use super::{Builder, Next, Outcome, Plugin, Reply, Request, Touch, args, text};
use crate::corefile::{Directive, Fault};

/// The longest string of a TXT record (RFC 1035 section 3.3).
const STRING_BYTES_MAX: usize = 255;

struct Chaos {
    version: String,
    authors: Vec<String>,
}

/// Reads `chaos`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.no_block()?;
    let mut words = directive.args.iter().map(|word| trim(&word.text));
    let version = words
        .next()
        .unwrap_or_else(|| concat!("hopzero-", env!("CARGO_PKG_VERSION")).to_owned());
    let mut authors: BTreeSet<String> = words.collect();
    if authors.is_empty() {
        authors.insert("hopzero".to_owned());
    }
    builder.plugins.push(Box::new(Chaos {
        version,
        authors: authors.into_iter().collect(),
    }));
    Ok(())
}

#[async_trait]
impl Plugin for Chaos {
    fn name(&self) -> &'static str {
        "chaos"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        if request.class != u16::from(DNSClass::CH) || request.rtype != RecordType::TXT {
            return next.run(request).await;
        }
        let strings = match text::show(&request.lower_name()).as_str() {
            "version.bind." | "version.server." => vec![self.version.clone()],
            "authors.bind." => {
                let mut authors = self.authors.clone();
                fastrand::shuffle(&mut authors);
                authors
            }
            "hostname.bind." | "id.server." => vec![trim(&hostname())],
            _ => return next.run(request).await,
        };
        let record = |string| {
            let data = RData::TXT(TXT::new(vec![string]));
            let mut record = Record::from_rdata(request.name.clone(), 0, data);
            record.dns_class = DNSClass::CH;
            record
        };
        Ok(Reply {
            answers: strings.into_iter().map(record).collect(),
            ..Reply::bare(ResponseCode::NoError)
        }
        .into())
    }

    fn touches(&self) -> Vec<Touch> {
        // The kernel answers in class IN.
        Vec::new()
    }
}

/// The name of the host, or of the container.
pub(super) fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// What fits into a string.
fn trim(text: &str) -> String {
    text[..text.floor_char_boundary(STRING_BYTES_MAX)].to_owned()
}
