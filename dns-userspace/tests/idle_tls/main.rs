//! What sessions over TLS cost whose clients have made them and then say nothing. One process alone, since its memory is
//! measured; the clients are a process of their own. What the kernel has for its sockets is not in it.

#[path = "../crowd/process.rs"]
mod process;
#[path = "../crowd/server.rs"]
mod server;

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use libtest_mimic::{Arguments, Trial};
use process::{allow_files, memory};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use server::{connect, start};
use tokio_util::sync::CancellationToken;

/// Sessions at each measurement.
const SESSIONS: [u32; 2] = [1000, 5000];
/// Bytes of one session.
const SESSION_BYTES_MAX: u64 = 20_000;
/// The server's name.
const NAME: &str = "dns.example";

/// Set for the process that has the clients: the server.
const CLIENTS: &str = "HOPZERO_CLIENTS";
/// For the same process: the file with the server's certificate.
const CERTIFICATE: &str = "HOPZERO_CERTIFICATE";

fn main() {
    if let (Ok(server), Some(certificate)) = (env::var(CLIENTS), env::var_os(CERTIFICATE)) {
        gather(server.parse().unwrap(), &PathBuf::from(certificate));
        return;
    }
    let trial = Trial::test("idle sessions of TLS", idle);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn idle() -> Result<(), libtest_mimic::Failed> {
    if allow_files() < u64::from(SESSIONS[1]) + 1000 {
        return Err("too few files: ulimit -Hn 6000".into());
    }
    let directory = tempfile::tempdir()?;
    let signed = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = directory.path().join("server.pem");
    fs::write(&certificate, signed.cert.pem())?;
    fs::write(
        directory.path().join("key.pem"),
        signed.signing_key.serialize_pem(),
    )?;
    let runtime = tokio::runtime::Runtime::new()?;
    let stop = CancellationToken::new();
    let files = directory.path().display();
    let corefile =
        format!("tls://.:853 {{\n tls {files}/server.pem {files}/key.pem\n whoami\n}}\n");
    let (address, counters, serving) = {
        let _entered = runtime.enter();
        start(corefile, &stop)
    };
    let serving = runtime.spawn(serving);

    let before = memory();
    let mut clients = Command::new(env::current_exe()?)
        .env(CLIENTS, address.to_string())
        .env(CERTIFICATE, &certificate)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut tells = clients.stdout.take().ok_or("no output")?;
    let mut told = clients.stdin.take().ok_or("no input")?;
    for sessions in SESSIONS {
        let begun = Instant::now();
        tells.read_exact(&mut [0])?;
        let grown = memory().saturating_sub(before);
        let each = grown / u64::from(sessions);
        println!(
            "{sessions} sessions in {:?}: {} kB more in memory, {each} bytes each",
            begun.elapsed(),
            grown / 1000
        );
        assert!(each < SESSION_BYTES_MAX, "{each} bytes");
        told.write_all(b"!")?;
    }
    // None was refused or cut off, so that all of them were there.
    assert_eq!(counters.snapshot().dropped.values().sum::<u64>(), 0);
    drop(told);
    clients.wait()?;
    stop.cancel();
    runtime.block_on(serving)?;
    Ok(())
}

/// Makes the sessions, says so, and holds them until its input ends.
fn gather(server: SocketAddr, certificate: &Path) {
    allow_files();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate).unwrap())
        .unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let mut held = Vec::new();
    for sessions in SESSIONS {
        while held.len() < sessions as usize {
            let number = u32::try_from(held.len()).unwrap();
            let mut stream = connect(server, number).unwrap();
            let name = ServerName::try_from(NAME).unwrap();
            let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
            while session.is_handshaking() {
                session.complete_io(&mut stream).unwrap();
            }
            held.push((stream, session));
        }
        std::io::stdout().write_all(b"!").unwrap();
        std::io::stdout().flush().unwrap();
        let _ = std::io::stdin().read(&mut [0]);
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
