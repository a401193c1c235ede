//! A certificate for the upstreams: of 127.0.0.1 and `dns.example`, signed by an authority of its own.

use std::{path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

pub struct Certificates {
    directory: tempfile::TempDir,
    pub server: Arc<ServerConfig>,
}

impl Certificates {
    pub fn make() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "dns.example".to_owned()];
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("server.pem", &certificate.pem());
        write("server-key.pem", &key.serialize_pem());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        write("ca.pem", &authority.pem());
        let client_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = params.signed_by(&client_key, &authority).unwrap();
        write("client.pem", &client.pem());
        write("client-key.pem", &client_key.serialize_pem());
        let another = KeyPair::generate().unwrap();
        let stranger = CertificateParams::new(Vec::new()).unwrap();
        let stranger = stranger.self_signed(&another).unwrap();
        write("stranger.pem", &stranger.pem());
        Certificates {
            directory,
            server: Arc::new(server),
        }
    }

    /// Where the authority's certificate, or another one, is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
