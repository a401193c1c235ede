//! Which certificates clients show: the policies of Go's `crypto/tls`, by `CoreDNS`'s names.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoClientAuth, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// What is wanted of a client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// Nothing: none is asked for.
    #[default]
    Unasked,
    /// One may be shown, whoever signed it.
    Any,
    /// One must be shown, whoever signed it.
    Some,
    /// One that is shown must be signed by an authority.
    SignedIfShown,
    /// One must be shown, signed by an authority.
    Signed,
}

/// What sees to that. Without authorities they are the system's roots.
///
/// # Errors
///
/// There is no authority that could be used, in words.
pub fn verifier(
    clients: Clients,
    authorities: Option<&[CertificateDer<'static>]>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    match clients {
        Clients::Unasked => Ok(Arc::new(NoClientAuth)),
        Clients::Any | Clients::Some => Ok(Arc::new(Unsigned {
            is_mandatory: clients == Clients::Some,
            algorithms,
        })),
        Clients::SignedIfShown | Clients::Signed => {
            let roots = roots(authorities)?;
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let builder = match clients {
                Clients::Signed => builder,
                _ => builder.allow_unauthenticated(),
            };
            let verifier = builder.build().map_err(|error| error.to_string())?;
            Ok(verifier)
        }
    }
}

fn roots(authorities: Option<&[CertificateDer<'static>]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(authorities) = authorities {
        for certificate in authorities {
            roots
                .add(certificate.clone())
                .map_err(|error| format!("a certificate that cannot be used: {error}"))?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() {
        return Err("no root certificates were found on this system".to_owned());
    }
    Ok(roots)
}

/// Whoever signed it is fine. That the client has the certificate's key is seen in any case.
#[derive(Debug)]
struct Unsigned {
    is_mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Unsigned {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
