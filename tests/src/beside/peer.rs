//! A server under a Corefile, as a process of its own on a port of loopback.

use std::{
    env, fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use hopzero::control::{self, Report};
use tempfile::TempDir;

use super::{question::Asked, reply::Seen};
use crate::{client::Query, daemon};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a reply may take. A query to an upstream may wait for its time to be over.
const REPLY_PATIENCE: Duration = Duration::from_secs(8);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Which one.
#[derive(Clone, Copy)]
pub enum Software<'a> {
    /// At this path.
    CoreDns(&'a Path),
    /// The one under test.
    Hopzero,
}

/// The `CoreDNS` to compare with.
///
/// # Errors
/// `HOPZERO_COREDNS` does not name one.
pub fn coredns() -> Result<PathBuf> {
    let path = env::var_os("HOPZERO_COREDNS").ok_or_else(|| {
        anyhow!("HOPZERO_COREDNS names no CoreDNS: `cargo xtask test coredns` builds one")
    })?;
    let path = PathBuf::from(path);
    ensure!(
        path.is_file(),
        "HOPZERO_COREDNS: {} is no file",
        path.display()
    );
    Ok(path)
}

/// A running server; ended when dropped.
pub struct Peer {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Peer {
    /// Starts it with the files of a folder, its `Corefile` among them, and with variables for that; waits until it
    /// answers.
    ///
    /// # Errors
    /// It does not.
    pub fn start(
        software: Software<'_>,
        folder: &Path,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_at(free_port()?, software, folder, variables, &[])
    }

    /// The same at this port of loopback, with further arguments.
    ///
    /// # Errors
    /// It does not.
    pub fn start_at(
        port: u16,
        software: Software<'_>,
        folder: &Path,
        variables: &[(&str, &str)],
        arguments: &[String],
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        for file in fs::read_dir(folder)? {
            let file = file?;
            fs::copy(file.path(), directory.path().join(file.file_name()))?;
        }
        fs::create_dir(directory.path().join("manifests"))?;
        let mut command = match software {
            Software::CoreDns(path) => {
                let mut command = Command::new(path);
                command.args(["-conf", "Corefile"]);
                command
            }
            Software::Hopzero => {
                let mut command = Command::new(daemon::binary()?);
                command.args(["serve", "--conf", "Corefile"]);
                // Else the cluster is an API server.
                if variables.iter().all(|(name, _)| *name != "KUBECONFIG") {
                    command.args(["--manifests", "manifests"]);
                }
                command.args(["--control", "control.sock"]);
                command
            }
        };
        let log = fs::File::create(directory.path().join("log"))?;
        let child = command
            .args(arguments)
            .current_dir(directory.path())
            .env("PORT", port.to_string())
            .envs(variables.iter().copied())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut peer = Peer {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            directory,
        };
        peer.ready()?;
        Ok(peer)
    }

    fn ready(&mut self) -> Result<()> {
        let started = Instant::now();
        // Of a class that nothing here answers: no cache remembers it.
        let mut query = Query::new("ready.test", 1).id(0).bytes();
        let class = query.len() - 1;
        query[class] = 4;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        udp.set_read_timeout(Some(LOOK))?;
        udp.connect(self.address)?;
        loop {
            // Until it listens, sending is refused.
            let _ = udp.send(&query);
            if udp.recv(&mut [0; 512]).is_ok() {
                break;
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended ({status}):\n{}", self.log());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "it is not ready:\n{}",
                self.log()
            );
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Its reply; silence is one too.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn ask(&self, client: &Client, asked: &Asked) -> Result<Seen> {
        let bytes = if asked.is_over_tcp {
            self.ask_tcp(&asked.bytes)
        } else {
            client.ask(self.address, &asked.bytes)
        };
        self.seen(asked, bytes)
    }

    /// Its reply over UDP at another of its addresses.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn ask_at(&self, address: SocketAddr, client: &Client, asked: &Asked) -> Result<Seen> {
        self.seen(asked, client.ask(address, &asked.bytes))
    }

    fn seen(&self, asked: &Asked, bytes: Result<Vec<u8>>) -> Result<Seen> {
        bytes
            .map(Seen::new)
            .with_context(|| format!("{asked}\n{}", self.log()))
    }

    fn ask_tcp(&self, query: &[u8]) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(REPLY_PATIENCE))?;
        let mut message = u16::try_from(query.len())?.to_be_bytes().to_vec();
        message.extend(query);
        stream.write_all(&message)?;
        let mut length = [0; 2];
        match stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What hopzero says about itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn report(&self) -> Result<Report> {
        Ok(control::fetch(&self.directory.path().join("control.sock"))?)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// That cannot be known.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// All that it has logged.
    pub fn whole_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The end of that.
    pub fn log(&self) -> String {
        let log = self.whole_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks both from one port, which is part of some answers.
pub struct Client(UdpSocket);

impl Client {
    /// At a port that the system chooses.
    ///
    /// # Errors
    /// There is none.
    pub fn new() -> Result<Self> {
        Self::of(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)
    }

    /// By this socket.
    ///
    /// # Errors
    /// It cannot be told how long to wait.
    pub fn of(socket: UdpSocket) -> Result<Self> {
        socket.set_read_timeout(Some(REPLY_PATIENCE))?;
        Ok(Client(socket))
    }

    /// The reply; none is silence.
    fn ask(&self, server: SocketAddr, query: &[u8]) -> Result<Vec<u8>> {
        self.0.send_to(query, server)?;
        let mut buffer = vec![0; 65_535];
        loop {
            match self.0.recv_from(&mut buffer) {
                // A late one to another query is not this one's.
                Ok((length, from)) if from == server && buffer[..2] == query[..2] => {
                    return Ok(buffer[..length].to_vec());
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A port that nobody has, over UDP and TCP.
fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = udp.local_addr()?.port();
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}
