//! The bytes of a connection, in plain or within a TLS session (RFC 7858), without a wait.
//!
//! ```text
//!             read ◀── decrypted ◀──┐
//! connection                     session ◀──▶ stream
//!            write ──▶ encrypted ──▶┘          handshake, alerts and tickets come and go unseen
//! ```
//!
//! What is decrypted is handed out at once, and no more is encrypted while what was before has not left: so a session
//! holds a record or two, and a client that does not read is seen to do so.

use std::{
    io::{self, Read as _, Write as _},
    sync::Arc,
};

use rustls::{ServerConfig, ServerConnection};
use tokio::{
    io::{Interest, Ready},
    net::TcpStream,
};

/// Room for reading in plain: several queries.
const INCOMING_BYTES: usize = 512;

/// A connection's stream.
pub(super) struct Channel {
    stream: TcpStream,
    session: Option<Box<ServerConnection>>,
}

impl Channel {
    /// A stream that was just accepted, and how its session is made, if there is to be one.
    ///
    /// # Errors
    ///
    /// A configuration that cannot be.
    pub fn new(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<Self, rustls::Error> {
        let session = tls.map(ServerConnection::new).transpose()?;
        Ok(Channel {
            stream,
            session: session.map(Box::new),
        })
    }

    /// Until something can be done.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.stream.ready(interest).await
    }

    /// Adds what is there; whether more can come.
    ///
    /// # Errors
    ///
    /// The stream is broken, or ([`io::ErrorKind::InvalidData`]) the session is.
    pub fn read(&mut self, incoming: &mut Vec<u8>) -> io::Result<bool> {
        let read = match &mut self.session {
            None => {
                incoming.reserve(INCOMING_BYTES);
                self.stream.try_read_buf(incoming).map(|bytes| bytes > 0)
            }
            Some(session) => decrypt(session, &self.stream, incoming),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            read => read,
        }
    }

    /// Takes as much as can be sent now.
    ///
    /// # Errors
    ///
    /// The stream is broken, or takes nothing now.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        match &mut self.session {
            None => self.stream.try_write(bytes),
            Some(session) => session.writer().write(bytes),
        }
    }

    /// Sends what was taken, and what the session has to say.
    ///
    /// # Errors
    ///
    /// The stream is broken, or does not take all of it now.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            None => Ok(()),
            Some(session) => flush(session, &self.stream),
        }
    }

    /// Something is left that the stream has not taken.
    pub fn is_sending(&self) -> bool {
        (self.session.as_ref()).is_some_and(|session| session.wants_write())
    }

    /// Tells the client that nothing was cut off (RFC 8446 section 6.1), if it can be told now.
    pub fn close(&mut self) {
        if let Some(session) = &mut self.session
            && !session.is_handshaking()
        {
            session.send_close_notify();
            let _ = flush(session, &self.stream);
        }
    }
}

fn decrypt(
    session: &mut ServerConnection,
    stream: &TcpStream,
    incoming: &mut Vec<u8>,
) -> io::Result<bool> {
    let read = session.read_tls(&mut Ends(stream))?;
    let processed = session.process_new_packets();
    // The next step of a handshake, or why there is none.
    match flush(session, stream) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
        _ => {}
    }
    let state = processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let from = incoming.len();
    incoming.resize(from + state.plaintext_bytes_to_read(), 0);
    session.reader().read_exact(&mut incoming[from..])?;
    // Many clients end without a word. Nothing of ours depends on it: a query that was cut off is not answered.
    Ok(read > 0 && !state.peer_has_closed())
}

fn flush(session: &mut ServerConnection, stream: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        if session.write_tls(&mut Ends(stream))? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// Both ends of a stream, without a wait.
struct Ends<'a>(&'a TcpStream);

impl io::Read for Ends<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Ends<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
