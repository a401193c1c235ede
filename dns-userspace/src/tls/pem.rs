//! Certificates and keys in PEM files (RFC 7468).

use std::path::{Path, PathBuf};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

/// A file that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", path.display(), why(source, what))]
pub struct PemError {
    path: PathBuf,
    /// What should be there.
    what: &'static str,
    source: pem::Error,
}

fn why(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("no {what} in it"),
        pem::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// All certificates of a file, of which there is at least one.
///
/// # Errors
///
/// The file cannot be read, or has none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let some = all.and_then(|all| {
        if all.is_empty() {
            return Err(pem::Error::NoItemsFound);
        }
        Ok(all)
    });
    some.map_err(|source| PemError {
        path: path.to_owned(),
        what: "certificate",
        source,
    })
}

/// The first private key of a file.
///
/// # Errors
///
/// The file cannot be read, or has none.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| PemError {
        path: path.to_owned(),
        what: "private key",
        source,
    })
}
