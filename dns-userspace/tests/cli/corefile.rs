//! `hopzero serve --conf`: HTTP, logs, reload and the end, as who runs `CoreDNS` knows them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::daemon::{MANIFESTS, PATIENCE, command, run};

pub struct Daemon {
    child: Child,
    directory: TempDir,
    log: BufReader<ChildStdout>,
    pub port: u16,
    pub http: u16,
}

/// A port of the loopback that nobody has, for UDP and for TCP.
pub fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        if TcpListener::bind(address).is_ok() {
            return address.port();
        }
    }
}

impl Daemon {
    /// `$PORT` is where DNS is served, `$HTTP` the pages.
    pub fn start(corefile: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), corefile)
    }

    /// `$DIR` is the directory, which may have files already.
    pub fn start_in(directory: TempDir, corefile: &str) -> Self {
        let manifests = directory.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        fs::write(manifests.join("shop.yaml"), MANIFESTS).unwrap();
        let (port, http) = (free_port(), free_port());
        let path = directory.path().join("Corefile");
        fs::write(&path, text(corefile, directory.path(), port, http)).unwrap();
        let mut child = command()
            .args(["serve", "--conf"])
            .arg(&path)
            .arg("--manifests")
            .arg(&manifests)
            .arg("--control")
            .arg(directory.path().join("control.sock"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        let mut daemon = Daemon {
            child,
            directory,
            log,
            port,
            http,
        };
        daemon.logs("serving");
        daemon
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn write(&self, corefile: &str) {
        let text = text(corefile, self.directory(), self.port, self.http);
        fs::write(self.directory.path().join("Corefile"), text).unwrap();
    }

    /// The next line of the log that has this in it.
    pub fn logs(&mut self, part: &str) -> String {
        let mut all = String::new();
        loop {
            let from = all.len();
            let read = self.log.read_line(&mut all).unwrap();
            assert!(read > 0, "{part:?} is not in\n{all}");
            if all[from..].contains(part) {
                return all[from..].trim_end().to_owned();
            }
        }
    }

    fn query(&self, name: &str) -> String {
        run(&[
            "query",
            "--server",
            &format!("127.0.0.1:{}", self.port),
            name,
        ])
        .stdout
    }

    /// Status line and body.
    pub fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    /// Sends a query over TCP, and waits for the reply.
    pub fn ask_over_tcp(&self, query: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = u16::try_from(query.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, query].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply).unwrap();
    }

    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: kill() touches no memory of ours, and the child is not reaped yet, so that the
        // number is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(corefile: &str, directory: &Path, port: u16, http: u16) -> String {
    let text = corefile.replace("$PORT", &port.to_string());
    let text = text.replace("$DIR", &directory.display().to_string());
    text.replace("$HTTP", &http.to_string())
}

const COREFILE: &str = "
.:$PORT {
    bind 127.0.0.1
    errors
    log
    health 127.0.0.1:$HTTP {
        lameduck 1s
    }
    ready 127.0.0.1:$HTTP
    prometheus 127.0.0.1:$HTTP
    kubernetes cluster.local
    reload 2s 0s
}
";

#[test]
fn pages_logs_and_the_end() {
    let mut daemon = Daemon::start(COREFILE);
    assert_eq!(daemon.query("web.shop.svc.cluster.local"), "10.96.0.10\n");
    let line = daemon.logs("web.shop");
    let form = regex::Regex::new(
        r#"^\[INFO\] 127\.0\.0\.1:\d+ - \d+ "A IN web\.shop\.svc\.cluster\.local\. udp \d+ false \d+" NOERROR qr,aa,rd \d+ 0\.\d+s$"#,
    );
    assert!(form.unwrap().is_match(&line), "{line}");
    let ok = ("HTTP/1.1 200 OK".to_owned(), "OK".to_owned());
    assert_eq!(daemon.get("/health"), ok);
    assert_eq!(daemon.get("/ready"), ok);
    let missing = (
        "HTTP/1.1 404 Not Found".to_owned(),
        "404 page not found\n".to_owned(),
    );
    assert_eq!(daemon.get("/nothing"), missing);
    let (_, metrics) = daemon.get("/metrics");
    let counted = format!(
        r#"coredns_dns_requests_total{{family="1",proto="udp",server="dns://127.0.0.1:{}",type="A",view="",zone="."}} 1"#,
        daemon.port
    );
    assert!(metrics.contains(&counted), "{metrics}");

    daemon.signal(libc::SIGTERM);
    daemon.logs("[INFO] plugin/health: Going into lameduck mode for 1s");
    let begun = Instant::now();
    assert_eq!(daemon.get("/health"), ok);
    assert_eq!(daemon.get("/ready").1, "Shutting down");
    assert_eq!(daemon.query("web.shop.svc.cluster.local"), "10.96.0.10\n");
    while daemon.child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_reload_changes_what_clients_may_take() {
    let corefile = "
.:$PORT {
    bind 127.0.0.1
    timeouts {
        read 20s
    }
    whoami
}
";
    let mut daemon = Daemon::start(corefile);
    daemon.write(&corefile.replace("20s", "1s"));
    daemon.signal(libc::SIGUSR1);
    daemon.logs("[INFO] Reloading complete");
    let mut quiet = TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
    quiet.set_read_timeout(Some(PATIENCE / 2)).unwrap();
    assert_eq!(quiet.read(&mut [0; 1]).unwrap(), 0, "cut off");
}

#[test]
fn a_changed_file_takes_over_and_a_bad_one_does_not() {
    let mut daemon = Daemon::start(COREFILE);
    daemon.write(&COREFILE.replace("kubernetes cluster.local", "kubernetes example.internal"));
    daemon.logs("[INFO] Reloading complete");
    assert_eq!(
        daemon.query("web.shop.svc.example.internal"),
        "10.96.0.10\n"
    );
    daemon.write(&COREFILE.replace("errors", "erors"));
    daemon.signal(libc::SIGUSR1);
    daemon.logs("[ERROR] plugin/reload: Corefile changed but reload failed: ");
    assert_eq!(
        daemon.query("web.shop.svc.example.internal"),
        "10.96.0.10\n"
    );
    let (_, metrics) = daemon.get("/metrics");
    assert!(
        metrics.contains("\ncoredns_reload_failed_total 1\n"),
        "{metrics}"
    );
}
