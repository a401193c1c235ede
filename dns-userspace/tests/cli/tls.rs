//! DNS over TLS as who runs the daemon sees it: sessions, certificates that are renewed, and what is wrong with them.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;

use crate::{
    corefile::Daemon,
    daemon::{PATIENCE, run},
};

const COREFILE: &str = "
tls://.:$PORT {
    bind 127.0.0.1
    errors
    tls $DIR/cert.pem $DIR/key.pem
    prometheus 127.0.0.1:$HTTP
    kubernetes cluster.local
}
";

/// A, web.shop.svc.cluster.local.
const QUERY: &[u8] =
    b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x04shop\x03svc\x07cluster\x05local\0\0\x01\0\x01";

/// A new certificate, and who trusts it.
fn renew(directory: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn start() -> (Daemon, CertificateDer<'static>) {
    let directory = TempDir::new().unwrap();
    let trusted = renew(directory.path());
    (Daemon::start_in(directory, COREFILE), trusted)
}

fn session(port: u16, trusted: &CertificateDer<'static>) -> impl Read + Write {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(client, stream)
}

fn ask(mut stream: impl Read + Write) -> std::io::Result<Vec<u8>> {
    let length = u16::try_from(QUERY.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, QUERY].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

fn assert_answered(reply: &[u8]) {
    assert!(reply.ends_with(&[10, 96, 0, 10]), "{reply:02x?}");
}

#[test]
fn queries_come_in_sessions_alone() {
    let (daemon, trusted) = start();
    assert_answered(&ask(session(daemon.port, &trusted)).unwrap());
    // In plain there is an alert, and no answer.
    let plain = TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(plain).unwrap_err();
    // Nobody has the port over UDP.
    UdpSocket::bind(("127.0.0.1", daemon.port)).unwrap();
    let (_, metrics) = daemon.get("/metrics");
    let counted = format!(
        r#"coredns_dns_requests_total{{family="1",proto="tcp",server="tls://127.0.0.1:{}",type="A",view="",zone="."}} 1"#,
        daemon.port
    );
    assert!(metrics.contains(&counted), "{metrics}");
}

#[test]
fn a_renewed_certificate_is_shown_after_a_reload() {
    let (mut daemon, before) = start();
    let mut kept = session(daemon.port, &before);
    assert_answered(&ask(&mut kept).unwrap());
    let after = renew(daemon.directory());
    daemon.signal(libc::SIGUSR1);
    daemon.logs("[INFO] Reloading complete");
    let refused = ask(session(daemon.port, &before)).unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    assert_answered(&ask(session(daemon.port, &after)).unwrap());
    // Sessions go on.
    assert_answered(&ask(&mut kept).unwrap());

    // One that does not fit does not take over.
    let lost = fs::read(daemon.directory().join("key.pem")).unwrap();
    renew(daemon.directory());
    fs::write(daemon.directory().join("key.pem"), lost).unwrap();
    daemon.signal(libc::SIGUSR1);
    let line = daemon.logs("[ERROR] plugin/reload: Corefile changed but reload failed: ");
    assert!(line.contains("is not that of the certificate in"), "{line}");
    assert_answered(&ask(session(daemon.port, &after)).unwrap());
}

#[test]
fn without_a_certificate_it_is_in_plain() {
    let corefile = COREFILE.replace("    tls $DIR/cert.pem $DIR/key.pem\n", "");
    let daemon = Daemon::start(&corefile);
    let plain = TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_answered(&ask(plain).unwrap());
    UdpSocket::bind(("127.0.0.1", daemon.port)).unwrap();
}

#[test]
fn both_ways_in_one_block() {
    let directory = TempDir::new().unwrap();
    let trusted = renew(directory.path());
    let secure = crate::corefile::free_port();
    let corefile = COREFILE.replace("tls://.:$PORT", &format!("tls://.:{secure}, .:$PORT"));
    let daemon = Daemon::start_in(directory, &corefile);
    assert_answered(&ask(session(secure, &trusted)).unwrap());
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    udp.send_to(QUERY, ("127.0.0.1", daemon.port)).unwrap();
    let mut reply = [0; 512];
    let length = udp.recv(&mut reply).unwrap();
    assert_answered(&reply[..length]);
}

#[test]
fn metrics_over_tls() {
    let directory = TempDir::new().unwrap();
    let before = renew(directory.path());
    let web = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n";
    fs::write(directory.path().join("web.yml"), web).unwrap();
    let corefile = "
.:$PORT {
    bind 127.0.0.1
    prometheus 127.0.0.1:$HTTP {
        tls $DIR/web.yml
    }
    whoami
}
";
    let mut daemon = Daemon::start_in(directory, corefile);
    let get = |daemon: &Daemon, trusted| {
        let mut page = String::new();
        let mut stream = session(daemon.http, trusted);
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut page)?;
        std::io::Result::Ok(page)
    };
    let page = get(&daemon, &before).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    assert!(page.contains("\ncoredns_panics_total 0\n"), "{page}");
    let after = renew(daemon.directory());
    daemon.signal(libc::SIGUSR1);
    daemon.logs("[INFO] Reloading complete");
    get(&daemon, &before).unwrap_err();
    get(&daemon, &after).unwrap();
}

#[test]
fn what_is_wrong_is_shown_with_its_place() {
    let directory = TempDir::new().unwrap();
    renew(directory.path());
    let corefile = directory.path().join("Corefile");
    fs::write(
        &corefile,
        "tls://. {\n    tls /nowhere/cert.pem /nowhere/key.pem\n    whoami\n}\n",
    )
    .unwrap();
    let checked = run(&["check-config", corefile.to_str().unwrap()]);
    assert_eq!(checked.code, 1);
    for part in [
        "/nowhere/cert.pem: No such file or directory",
        "Corefile:2:9",
        "expected a PEM file with the server's certificate",
    ] {
        assert!(checked.stderr.contains(part), "{}", checked.stderr);
    }
}
