use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
    pki_types::{PrivateKeyDer, ServerName},
};
use tempfile::TempDir;

use super::*;

/// An authority, and what it has signed.
struct World {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl World {
    fn new() -> Self {
        let world = World {
            directory: tempfile::tempdir().unwrap(),
            authority: authority(),
        };
        world.write("ca.pem", &world.authority.pem());
        world.write("other-ca.pem", &authority().pem());
        world.sign("server", |_| ());
        world.sign("client", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        world
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.directory.path().join(name), content).unwrap();
    }

    /// `NAME.pem` and `NAME-key.pem`.
    fn sign(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["dns.example".to_owned()]).unwrap();
        edit(&mut params);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}-key.pem"), &key.serialize_pem());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn policy(&self) -> Policy {
        Policy {
            certificate: self.path("server.pem"),
            key: self.path("server-key.pem"),
            authorities: None,
            clients: Clients::default(),
            key_log: None,
            versions: VERSIONS,
        }
    }

    /// A client that shows a certificate, or none.
    fn client(&self, shown: Option<&str>) -> ClientConnection {
        self.client_of(VERSIONS, shown)
    }

    fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&str>,
    ) -> ClientConnection {
        let name = ServerName::try_from("dns.example").unwrap();
        ClientConnection::new(self.config(versions, shown), name).unwrap()
    }

    fn config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&str>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let certificates = pem::certificates(&self.path(&format!("{name}.pem"))).unwrap();
                let key: PrivateKeyDer<'_> =
                    pem::key(&self.path(&format!("{name}-key.pem"))).unwrap();
                builder.with_client_auth_cert(certificates, key).unwrap()
            }
        };
        Arc::new(config)
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A word from the client to the server and back, over memory.
fn talk(tls: &ServerTls, client: &mut ClientConnection) -> Result<(), rustls::Error> {
    let mut server = ServerConnection::new(Arc::clone(tls.config()))?;
    client.writer().write_all(b"ping").unwrap();
    let mut heard = [0; 4];
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let is_heard = server.reader().read_exact(&mut heard).is_ok();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
        if is_heard {
            assert_eq!(heard, *b"ping");
            return Ok(());
        }
    }
}

#[test]
fn what_clients_show_is_what_the_policy_wants() {
    let world = World::new();
    let stranger = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["who.example".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&stranger).unwrap();
    world.write("stranger.pem", &certificate.pem());
    world.write("stranger-key.pem", &stranger.serialize_pem());
    let all = [None, Some("client"), Some("stranger")];
    for (clients, welcome) in [
        (Clients::Unasked, [true, true, true]),
        (Clients::Any, [true, true, true]),
        (Clients::Some, [false, true, true]),
        (Clients::SignedIfShown, [true, true, false]),
        (Clients::Signed, [false, true, false]),
    ] {
        let tls = ServerTls::read(&Policy {
            clients,
            authorities: Some(world.path("ca.pem")),
            ..world.policy()
        })
        .unwrap();
        for &version in VERSIONS {
            for (shown, is_welcome) in all.into_iter().zip(welcome) {
                let mut client = world.client_of(&[version], shown);
                let talked = talk(&tls, &mut client);
                assert_eq!(
                    talked.is_ok(),
                    is_welcome,
                    "{clients:?} {:?} {shown:?}: {talked:?}",
                    version.version
                );
            }
        }
    }
}

#[test]
fn a_client_that_comes_back_is_known_unless_it_has_to_show_something() {
    let world = World::new();
    for (clients, kind) in [
        (Clients::Unasked, HandshakeKind::Resumed),
        (Clients::Any, HandshakeKind::Full),
    ] {
        let tls = ServerTls::read(&Policy {
            clients,
            ..world.policy()
        })
        .unwrap();
        for &version in VERSIONS {
            let config = world.config(&[version], None);
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let name = ServerName::try_from("dns.example").unwrap();
                let mut client = ClientConnection::new(Arc::clone(&config), name).unwrap();
                talk(&tls, &mut client).unwrap();
                kinds.push(client.handshake_kind().unwrap());
            }
            assert_eq!(
                kinds,
                [HandshakeKind::Full, kind],
                "{clients:?} {version:?}"
            );
        }
    }
}

#[test]
fn a_certificate_that_has_expired_is_the_clients_business() {
    let world = World::new();
    world.sign("server", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
    });
    let tls = ServerTls::read(&world.policy()).unwrap();
    let told = talk(&tls, &mut world.client(None)).unwrap_err();
    assert!(told.to_string().contains("expired"), "{told}");
}

/// Makes a policy wrong.
type Edit<'a> = &'a dyn Fn(&mut Policy);

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let world = World::new();
    world.write("empty.pem", "");
    world.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    world.write(
        "broken-key.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let with = |edit: Edit<'_>| {
        let mut policy = world.policy();
        edit(&mut policy);
        let error = ServerTls::read(&policy).unwrap_err();
        (error.part, error.to_string())
    };
    let cases: [(Edit<'_>, Part, &str); 9] = [
        (
            &|policy| policy.certificate = "/nowhere/cert.pem".into(),
            Part::Certificate,
            "/nowhere/cert.pem: No such file",
        ),
        (
            &|policy| policy.certificate = world.path("empty.pem"),
            Part::Certificate,
            "no certificate in it",
        ),
        (
            &|policy| policy.certificate = world.path("broken.pem"),
            Part::Certificate,
            "broken.pem: ",
        ),
        (
            &|policy| policy.key = world.path("server.pem"),
            Part::Key,
            "server.pem: no private key in it; expected a PEM file with the certificate's private key",
        ),
        (
            &|policy| policy.key = world.path("broken-key.pem"),
            Part::Key,
            "broken-key.pem: ",
        ),
        (
            &|policy| policy.key = world.path("client-key.pem"),
            Part::Key,
            "client-key.pem is not that of the certificate in",
        ),
        (
            &|policy| policy.authorities = Some(world.path("empty.pem")),
            Part::Authorities,
            "empty.pem: no certificate in it",
        ),
        (
            &|policy| {
                policy.authorities = Some(world.path("broken.pem"));
                policy.clients = Clients::Signed;
            },
            Part::Authorities,
            "a certificate that cannot be used",
        ),
        (
            &|policy| policy.key_log = Some("/nowhere/keys".into()),
            Part::KeyLog,
            "/nowhere/keys: No such file",
        ),
    ];
    for (edit, part, message) in cases {
        let (told, text) = with(edit);
        assert_eq!(told, part, "{text}");
        assert!(text.contains(message), "{text}\nhas not {message}");
    }
}

#[test]
fn blocks_of_an_address_agree_on_what_clients_see() {
    let world = World::new();
    let read = |policy: &Policy| ServerTls::read(policy).unwrap();
    let first = read(&world.policy());
    assert_eq!(first.agrees_with(&read(&world.policy())), Ok(()));
    let clients = Clients::Any;
    let asks = read(&Policy {
        clients,
        ..world.policy()
    });
    assert!(
        first
            .agrees_with(&asks)
            .unwrap_err()
            .contains("client_auth")
    );
    let authorities = Some(world.path("ca.pem"));
    let trusts = read(&Policy {
        authorities,
        ..world.policy()
    });
    assert!(first.agrees_with(&trusts).unwrap_err().contains("sign"));
    world.sign("server", |_| ());
    let renewed = read(&world.policy());
    assert_eq!(first.agrees_with(&renewed), Err("the certificates differ"));
}

#[test]
fn secrets_are_written_for_their_owner_alone() {
    let world = World::new();
    let path = world.path("keys");
    let tls = ServerTls::read(&Policy {
        key_log: Some(path.clone()),
        ..world.policy()
    })
    .unwrap();
    talk(&tls, &mut world.client(None)).unwrap();
    let form = regex::Regex::new(r"^[A-Z_0-9]+ [0-9a-f]{64} [0-9a-f]{64,96}$").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().all(|line| form.is_match(line)), "{text}");
    assert!(text.contains("CLIENT_TRAFFIC_SECRET_0 "), "{text}");
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
