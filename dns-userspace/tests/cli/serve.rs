//! `hopzero serve`: start, changes, stop, and what it refuses.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    time::Instant,
};

use crate::daemon::{Daemon, MANIFESTS, PATIENCE, run};

#[test]
fn signals_stop_it_cleanly() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let daemon = Daemon::start(&[]);
        assert!(daemon.serving["names"].as_u64().unwrap() > 0);
        let address = daemon.address().to_owned();
        let control = daemon.control();
        let mode = fs::metadata(&control).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // A connection that stays open must not delay the stop.
        let idle = std::net::TcpStream::connect(&address).unwrap();
        let started = Instant::now();
        let (status, log) = daemon.stop(signal);
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(started.elapsed().as_secs() < 5);
        assert!(log.contains("stopping"), "{log}");
        assert!(!control.exists());
        drop(idle);
        UdpSocket::bind(&address).expect("the UDP port is free");
    }
}

#[test]
fn a_change_of_the_manifests_changes_the_answers() {
    let daemon = Daemon::start(&[]);
    let file = daemon.directory.path().join("manifests/shop.yaml");
    let ask = || daemon.query(&["web.shop.svc.cluster.local"]).stdout;
    let becomes = |expected: &str| {
        let started = Instant::now();
        while ask() != expected {
            assert!(started.elapsed() < PATIENCE, "{expected:?}");
        }
    };
    becomes("10.96.0.10\n");
    fs::write(&file, MANIFESTS.replace("10.96.0.10", "10.96.0.99")).unwrap();
    becomes("10.96.0.99\n");
    // What does not parse changes nothing.
    fs::write(&file, "kind: [").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(ask(), "10.96.0.99\n");
    fs::remove_file(&file).unwrap();
    becomes("");
}

#[test]
fn several_addresses_and_another_zone() {
    let daemon = Daemon::start(&[
        "--listen",
        "[::1]:0",
        "--zone",
        "Example.Internal.",
        "--reverse-zone",
        "96.10.in-addr.arpa",
    ]);
    let listen = daemon.serving["listen"].as_str().unwrap();
    assert_eq!(listen.split(',').count(), 2, "{listen}");
    for server in listen.split(',') {
        let ask = |name: &str| run(&["query", "--server", server, name]);
        assert_eq!(ask("web.shop.svc.example.internal").stdout, "10.96.0.10\n");
        assert_eq!(ask("web.shop.svc.cluster.local").code, 15);
        assert_eq!(ask("10.96.0.10").stdout, "web.shop.svc.example.internal.\n");
        assert_eq!(ask("fd00::a").code, 15, "outside the reverse zones");
    }
}

#[test]
fn errors_name_reason_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = directory.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let control = directory.path().join("control.sock");
    let control = control.to_str().unwrap();
    let listen = |address: &str| {
        run(&[
            "serve",
            "--manifests",
            manifests,
            "--control",
            control,
            "--listen",
            address,
        ])
    };
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let at_control = |path: &str| {
        run(&[
            "serve",
            "--manifests",
            manifests,
            "--control",
            path,
            "--listen",
            "127.0.0.1:0",
        ])
    };
    let daemon = Daemon::start(&[]);
    let missing = run(&[
        "serve",
        "--manifests",
        "/nonexistent",
        "--control",
        control,
        "--listen",
        "127.0.0.1:0",
    ]);
    let table = [
        (listen(&taken), &[&*taken, "in use", "ss -lntup"][..]),
        (listen("192.0.2.77:53"), &["192.0.2.77:53", "ip address"]),
        (missing, &["/nonexistent", "--manifests"]),
        (
            at_control(daemon.control().to_str().unwrap()),
            &["another daemon", "--control"],
        ),
        (
            at_control(file.to_str().unwrap()),
            &["not a socket", "--control"],
        ),
    ];
    for (output, shown) in table {
        assert_eq!(output.code, 1, "{output:?}");
        for text in shown {
            assert!(output.stderr.contains(text), "{text}: {}", output.stderr);
        }
    }
    assert!(
        !fs::exists(control).unwrap(),
        "nothing is left of a failed start"
    );
}

#[test]
fn plain_logs() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = crate::daemon::command()
        .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "debug"])
        .arg("--control")
        .arg(directory.path().join("control.sock"))
        .arg("--manifests")
        .arg(directory.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let line = std::io::BufRead::lines(stderr)
        .map(Result::unwrap)
        .find(|line| line.contains("serving"));
    child.kill().unwrap();
    child.wait().unwrap();
    let line = line.unwrap();
    assert!(
        line.contains("INFO") && line.contains("listen=\"127.0.0.1:"),
        "{line}"
    );
}
