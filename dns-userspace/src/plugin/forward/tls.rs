//! TLS to upstreams (RFC 7858): TLS 1.2 and 1.3 by rustls.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::tls::pem;

/// How sessions with one upstream are made.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// `name` is what the certificate must be for.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Tls {
            connector: config.into(),
            name,
        }
    }

    /// A session over a connection.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

/// What the arguments of `tls` name.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Our certificate and its key, for upstreams that ask for them.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Who may sign the upstreams' certificates; the system's roots if not given.
    pub roots: Option<PathBuf>,
}

/// Reads the files.
///
/// # Errors
///
/// What is wrong with one of them, in words.
pub fn config(files: &Files) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &files.roots {
        for certificate in pem::certificates(path).map_err(|error| error.to_string())? {
            roots
                .add(certificate)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() {
        return Err("no root certificates were found on this system".to_owned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &files.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private = pem::key(key).map_err(|error| error.to_string())?;
            let certificates = pem::certificates(certificate).map_err(|error| error.to_string())?;
            builder
                .with_client_auth_cert(certificates, private)
                .map_err(|error| format!("{}: {error}", certificate.display()))?
        }
    };
    Ok(Arc::new(config))
}
