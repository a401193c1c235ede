//! `tls`: the certificate that a server block shows at its `tls://` keys (RFC 7858).
//!
//! ```text
//! tls CERT KEY [CA] {         PEM files
//!     client_auth MODE        which certificates clients show; nocert unless given
//!     keylog FILE             secrets of the sessions
//! }
//! ```
//!
//! Without it such keys are served over TCP in plain, as in `CoreDNS`, where somebody else may end the sessions.

use super::{Builder, args};
use crate::{
    corefile::{Directive, Fault},
    tls::{Part, Policy, ServerTls, VERSIONS, clients::Clients},
};

const ARGUMENTS: &str = "CERT KEY [CA]";
const MODES: &str = "nocert, request, require, verify_if_given or require_and_verify";

/// Reads `tls`, and the files that it names.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let (certificate, key, authorities) = match directive.args.as_slice() {
        [certificate, key] => (certificate, key, None),
        [certificate, key, authorities] => (certificate, key, Some(authorities)),
        [] => {
            let fault = directive.wrong_arguments(ARGUMENTS);
            return Err(fault.help("certificates are not asked for by ACME: something else has to get and renew the files"));
        }
        _ => return Err(directive.wrong_arguments(ARGUMENTS)),
    };
    let mut policy = Policy {
        certificate: builder.path(certificate),
        key: builder.path(key),
        authorities: authorities.map(|word| builder.path(word)),
        clients: Clients::default(),
        key_log: None,
        versions: VERSIONS,
    };
    let mut key_log = None;
    for property in directive.properties() {
        match property.name.text.as_str() {
            "client_auth" => {
                let [mode] = property.exactly("one mode")?;
                policy.clients = match mode.text.as_str() {
                    "nocert" => Clients::Unasked,
                    "request" => Clients::Any,
                    "require" => Clients::Some,
                    "verify_if_given" => Clients::SignedIfShown,
                    "require_and_verify" => Clients::Signed,
                    _ => return Err(mode.not(MODES)),
                };
            }
            "keylog" => {
                let [file] = property.exactly("one file")?;
                policy.key_log = Some(builder.path(file));
                key_log = Some(file);
            }
            _ => return Err(property.unknown_property("tls", &["client_auth", "keylog"])),
        }
    }
    let tls = ServerTls::read(&policy).map_err(|error| {
        let word = match error.part {
            Part::Certificate => Some(certificate),
            Part::Key => Some(key),
            Part::Authorities => authorities,
            Part::KeyLog => key_log,
        };
        let span = word.map_or(directive.span(), |word| word.span);
        let fault = Fault::new(span, error.message, error.expected);
        match error.help {
            Some(help) => fault.help(help),
            None => fault,
        }
    })?;
    if let Some(path) = &policy.key_log {
        tracing::warn!(target: "plugin/tls", "Writing TLS Key Log to {path:?}");
    }
    builder.tls = Some(tls);
    Ok(())
}
