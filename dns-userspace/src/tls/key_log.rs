//! Secrets of sessions in a file, in the form that Wireshark reads (RFC 9850). Who has it can read what was said.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use rustls::KeyLog;

/// The file, which is added to.
#[derive(Debug)]
pub struct KeyLogFile(Mutex<File>);

impl KeyLogFile {
    /// Opens it. If it is not there it is made, for its owner alone.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(KeyLogFile(Mutex::new(file)))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = format!("{label} ");
        for (bytes, end) in [(client_random, ' '), (secret, '\n')] {
            for byte in bytes {
                let _ = write!(line, "{byte:02x}");
            }
            line.push(end);
        }
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A disk that is full is no reason to end a session.
        let _ = file.write_all(line.as_bytes());
    }
}
