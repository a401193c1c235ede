//! TLS 1.2 and 1.3 with clients, by rustls: from files to how a session is made.
//!
//! | module | concept |
//! |---|---|
//! | [`pem`] | certificates and keys in files |
//! | [`clients`] | which certificates clients show |
//! | [`key_log`] | secrets of sessions, to look into them |

pub mod clients;
pub mod key_log;
pub mod pem;

use std::{path::PathBuf, sync::Arc};

use rustls::{
    InconsistentKeys, ServerConfig, SupportedProtocolVersion, crypto::ring,
    pki_types::CertificateDer, server::NoServerSessionStorage,
};

use clients::Clients;
use key_log::KeyLogFile;

/// TLS 1.3 first. Older versions are not to be used (RFC 8996), nor does `CoreDNS`.
pub static VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];
/// TLS 1.3 alone.
pub static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// TLS 1.2 alone.
pub static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// What sessions with clients are to be.
#[derive(Clone, Debug)]
pub struct Policy {
    /// File with the server's certificate and those above it.
    pub certificate: PathBuf,
    /// File with its private key.
    pub key: PathBuf,
    /// File with who may sign the certificates of clients; the system's roots unless given.
    pub authorities: Option<PathBuf>,
    /// Which certificates clients show.
    pub clients: Clients,
    /// Where secrets of sessions are written.
    pub key_log: Option<PathBuf>,
    /// What is spoken.
    pub versions: &'static [&'static SupportedProtocolVersion],
}

/// A file of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The server's certificate.
    Certificate,
    /// Its private key.
    Key,
    /// Who may sign the certificates of clients.
    Authorities,
    /// Where secrets of sessions are written.
    KeyLog,
}

/// What is wrong with the files of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; expected {expected}")]
pub struct PolicyError {
    /// The file that is wrong.
    pub part: Part,
    /// What is wrong with it.
    pub message: String,
    /// What would be right.
    pub expected: &'static str,
    /// What may help.
    pub help: Option<String>,
}

const CERTIFICATE: &str =
    "a PEM file with the server's certificate and those that it is signed with";
const KEY: &str = "a PEM file with the certificate's private key, not encrypted";
const AUTHORITIES: &str = "a PEM file with the certificates that sign those of clients";

/// How sessions with clients are made.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    clients: Clients,
    certificates: Vec<CertificateDer<'static>>,
    authorities: Option<Vec<CertificateDer<'static>>>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One of them is not there, or not what it should be. That a certificate has expired, or is for another name, is
    /// the clients' business.
    pub fn read(policy: &Policy) -> Result<Self, PolicyError> {
        let error = |part, message: String, expected| PolicyError {
            part,
            message,
            expected,
            help: None,
        };
        let certificates = pem::certificates(&policy.certificate)
            .map_err(|wrong| error(Part::Certificate, wrong.to_string(), CERTIFICATE))?;
        let key =
            pem::key(&policy.key).map_err(|wrong| error(Part::Key, wrong.to_string(), KEY))?;
        let authorities = (policy.authorities.as_ref()).map(|path| pem::certificates(path));
        let authorities = authorities
            .transpose()
            .map_err(|wrong| error(Part::Authorities, wrong.to_string(), AUTHORITIES))?;
        let verifier = clients::verifier(policy.clients, authorities.as_deref())
            .map_err(|wrong| error(Part::Authorities, wrong, AUTHORITIES))?;

        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(policy.versions)
            .map_err(|wrong| error(Part::Certificate, wrong.to_string(), CERTIFICATE))?;
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates.clone(), key)
            .map_err(|wrong| policy.unusable(&wrong))?;
        // A client that comes back needs no signature of ours, and we keep nothing of it. What it has to show is looked
        // at each time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if policy.clients == Clients::Unasked
            && let Ok(ticketer) = ring::Ticketer::new()
        {
            config.ticketer = ticketer;
        }
        if let Some(path) = &policy.key_log {
            let log = KeyLogFile::open(path).map_err(|wrong| {
                let message = format!("{}: {wrong}", path.display());
                error(Part::KeyLog, message, "a file that can be written")
            })?;
            config.key_log = Arc::new(log);
        }
        Ok(ServerTls {
            config: Arc::new(config),
            clients: policy.clients,
            certificates,
            authorities,
        })
    }

    /// What makes a session.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Says that both are the same to a client, which gets one of them before it has said what it asks for.
    ///
    /// # Errors
    ///
    /// What differs.
    pub fn agrees_with(&self, other: &ServerTls) -> Result<(), &'static str> {
        if self.clients != other.clients {
            Err("`client_auth` differs")
        } else if self.authorities != other.authorities {
            Err("the certificates that sign those of clients differ")
        } else if self.certificates != other.certificates {
            Err("the certificates differ")
        } else {
            Ok(())
        }
    }
}

impl Policy {
    /// Certificate and key are what they should be, and cannot be used.
    fn unusable(&self, error: &rustls::Error) -> PolicyError {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        if let rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) = error {
            return PolicyError {
                part: Part::Key,
                message: format!(
                    "the key in {key} is not that of the certificate in {certificate}"
                ),
                expected: "the certificate's own key",
                help: Some(format!(
                    "`openssl x509 -pubkey -noout -in {certificate}` and `openssl pkey -pubout -in {key}` print the same for a pair"
                )),
            };
        }
        let is_of_certificate = matches!(error, rustls::Error::InvalidCertificate(_));
        let (part, path, expected) = if is_of_certificate {
            (Part::Certificate, certificate, CERTIFICATE)
        } else {
            (
                Part::Key,
                key,
                "a key for RSA, ECDSA (P-256, P-384) or Ed25519",
            )
        };
        PolicyError {
            part,
            message: format!("{path}: {error}"),
            expected,
            help: None,
        }
    }
}

#[cfg(test)]
mod tests;
