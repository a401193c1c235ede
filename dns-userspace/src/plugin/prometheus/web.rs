//! The file of `tls`: how metrics are served over TLS, in the form of Prometheus' exporters.
//!
//! ```yaml
//! tls_server_config:
//!   cert_file: metrics.pem              # relative to the file's directory
//!   key_file: metrics-key.pem
//!   client_auth_type: NoClientCert      # or as in Go's crypto/tls
//!   client_ca_file: ca.pem
//!   min_version: TLS12                  # or TLS13
//!   max_version: TLS13
//! ```
//!
//! What else such a file may have is an error: users with passwords, headers, a limit of requests, certificates in the
//! file itself, and what there is to say about ciphers.

use std::{fs, path::Path, sync::Arc};

use rustls::{ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;

use crate::tls::{Policy, ServerTls, TLS12, TLS13, VERSIONS, clients::Clients};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tls_server_config: Option<Sessions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sessions {
    cert_file: Option<String>,
    key_file: Option<String>,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<String>,
    min_version: Option<Version>,
    max_version: Option<Version>,
}

/// By the names of Go's `crypto/tls`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum ClientAuth {
    #[default]
    #[serde(alias = "")]
    NoClientCert,
    RequestClientCert,
    #[serde(alias = "RequireClientCert")]
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

impl From<ClientAuth> for Clients {
    fn from(auth: ClientAuth) -> Self {
        match auth {
            ClientAuth::NoClientCert => Clients::Unasked,
            ClientAuth::RequestClientCert => Clients::Any,
            ClientAuth::RequireAnyClientCert => Clients::Some,
            ClientAuth::VerifyClientCertIfGiven => Clients::SignedIfShown,
            ClientAuth::RequireAndVerifyClientCert => Clients::Signed,
        }
    }
}

/// Reads the file, and those that it names; `None` if it says nothing of TLS.
///
/// # Errors
///
/// What is wrong with one of them, in words.
pub(super) fn read(path: &Path) -> Result<Option<Arc<ServerConfig>>, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(&error))?;
    let file: Option<File> = serde_yaml_ng::from_str(&text).map_err(|error| told(&error))?;
    let Some(sessions) = file.and_then(|file| file.tls_server_config) else {
        return Ok(None);
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let named = |file: Option<String>, what: &str| {
        let file = file.filter(|file| !file.is_empty());
        file.map(|file| directory.join(file))
            .ok_or_else(|| told(&format_args!("tls_server_config without `{what}`")))
    };
    let clients = sessions.client_auth_type.into();
    let authorities = named(sessions.client_ca_file, "client_ca_file").ok();
    if authorities.is_some() && clients == Clients::Unasked {
        return Err(told(&"`client_ca_file` without a `client_auth_type`"));
    }
    let policy = Policy {
        certificate: named(sessions.cert_file, "cert_file")?,
        key: named(sessions.key_file, "key_file")?,
        authorities,
        clients,
        key_log: None,
        versions: versions(sessions.min_version, sessions.max_version)
            .ok_or_else(|| told(&"`min_version` above `max_version`"))?,
    };
    let tls = ServerTls::read(&policy).map_err(|error| error.to_string())?;
    Ok(Some(Arc::clone(tls.config())))
}

fn versions(
    min: Option<Version>,
    max: Option<Version>,
) -> Option<&'static [&'static SupportedProtocolVersion]> {
    match (min.unwrap_or(Version::Tls12), max.unwrap_or(Version::Tls13)) {
        (Version::Tls12, Version::Tls13) => Some(VERSIONS),
        (Version::Tls12, Version::Tls12) => Some(TLS12),
        (Version::Tls13, Version::Tls13) => Some(TLS13),
        (Version::Tls13, Version::Tls12) => None,
    }
}
