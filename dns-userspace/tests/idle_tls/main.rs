//! What sessions over TLS cost whose clients have made them and then say nothing. One process alone, since its memory is
//! measured; the clients are a process of their own. What the kernel has for its sockets is not in it.

#[path = "../crowd/process.rs"]
mod process;

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use hopzero::{
    corefile::Corefile,
    plugin::Environment,
    server::Servers,
    socket::{Server, ServerConfig, Service, SocketCounters, TcpLimits},
};
use libtest_mimic::{Arguments, Trial};
use process::{allow_files, memory};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use socket2::{Domain, Socket, Type};
use tokio_util::sync::CancellationToken;

/// Sessions at each measurement.
const SESSIONS: [u32; 2] = [1000, 5000];
/// An address may have 32; the others would be refused.
const PER_ADDRESS: u32 = 20;
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
    let (address, counters, serving) = {
        let _entered = runtime.enter();
        start(directory.path(), &stop)
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
            let client = u32::try_from(held.len()).unwrap() / PER_ADDRESS;
            let mut stream = connect(server, client).unwrap();
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

fn start(
    directory: &Path,
    stop: &CancellationToken,
) -> (
    SocketAddr,
    Arc<SocketCounters>,
    impl Future<Output = ()> + use<>,
) {
    let directory = directory.display();
    let text =
        format!("tls://.:853 {{\n tls {directory}/server.pem {directory}/key.pem\n whoami\n}}\n");
    let corefile = Corefile::parse(Path::new("Corefile"), text, &|_| None).unwrap();
    let servers = Servers::build(&corefile, 53, &Environment::default()).unwrap();
    let service: Arc<dyn Service> = Arc::clone(servers.iter().next().unwrap().1) as _;
    let config = ServerConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        tcp_limits: TcpLimits {
            // Longer than the test.
            read: Duration::from_mins(5),
            idle: Duration::from_mins(5),
            ..TcpLimits::default()
        },
        ..ServerConfig::default()
    };
    let server = Server::bind(config).unwrap();
    let (address, counters) = (server.addresses()[0], Arc::new(SocketCounters::default()));
    let serving = server.run(service, Arc::clone(&counters), stop.clone());
    (address, counters, serving)
}

/// From one of loopback's many addresses.
fn connect(server: SocketAddr, client: u32) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + client);
    socket.bind(&SocketAddr::from((client, 0)).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}
