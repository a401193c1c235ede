//! Credentials and limits, with a small API server on loopback: they are the client's, so the script's router has none.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
};
use kube::Client;

use crate::source::cluster::connection::{Access, Connection, Limits};

/// Which token it takes, and how often it was asked with which.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<(String, BTreeMap<String, usize>)>>);

impl Server {
    async fn start(token: &str) -> (Self, SocketAddr) {
        let server = Self::default();
        server.accept(token);
        let router = Router::new().fallback(answer).with_state(server.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, address)
    }

    fn accept(&self, token: &str) {
        self.0.lock().expect("no panic").0 = format!("Bearer {token}");
    }
}

async fn answer(State(server): State<Server>, headers: HeaderMap) -> (StatusCode, &'static str) {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|token| token.to_str().ok());
    let token = token.unwrap_or_default().to_owned();
    let mut server = server.0.lock().expect("no panic");
    let is_right = token == server.0;
    *server.1.entry(token).or_default() += 1;
    if is_right {
        let version = r#"{"major":"1","minor":"34","gitVersion":"","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
        (StatusCode::OK, version)
    } else {
        let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}"#;
        (StatusCode::UNAUTHORIZED, status)
    }
}

fn kubeconfig(directory: &Path, server: SocketAddr, user: &str) -> PathBuf {
    let file = directory.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters:\n- name: it\n  cluster: {{server: 'http://{server}'}}\n\
         users:\n- name: it\n  user: {{{user}}}\ncontexts:\n- name: it\n  context: {{cluster: it, user: it}}\n"
    );
    fs::write(&file, text).expect("it can be written");
    file
}

async fn connect(file: PathBuf, limits: Limits) -> Connection {
    let access = Access::Kubeconfig {
        file,
        context: None,
    };
    Connection::new(access, limits).await.expect("a kubeconfig")
}

async fn is_known(client: Client) -> bool {
    client.apiserver_version().await.is_ok()
}

/// The clock goes on by that much, and no faster than time while something is asked.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_token_file_is_read_again_each_minute() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = Server::start("first").await;
    let token = directory.path().join("token");
    fs::write(&token, "first").expect("it can be written");
    let user = format!("tokenFile: {}", token.display());
    let file = kubeconfig(directory.path(), address, &user);
    let connection = connect(file, Limits::default()).await;
    assert!(is_known(connection.client()).await);
    // As the kubelet does with tokens of service accounts.
    fs::write(&token, "second").expect("it can be written");
    server.accept("second");
    // Without waiting a minute: it was refused.
    pass(Duration::from_secs(11)).await;
    connection.renew().await;
    assert!(is_known(connection.client()).await);
}

#[tokio::test]
async fn credentials_in_a_kubeconfig_are_read_again_when_they_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = Server::start("first").await;
    let file = kubeconfig(directory.path(), address, "token: first");
    let connection = connect(file.clone(), Limits::default()).await;
    assert!(is_known(connection.client()).await);
    server.accept("second");
    kubeconfig(directory.path(), address, "token: second");
    assert!(!is_known(connection.client()).await, "nobody has read it");
    // Not at each refusal.
    connection.renew().await;
    assert!(!is_known(connection.client()).await, "it was just read");
    pass(Duration::from_secs(11)).await;
    connection.renew().await;
    assert!(is_known(connection.client()).await);
    // One that cannot be read changes nothing.
    fs::write(&file, "[").expect("it can be written");
    pass(Duration::from_secs(11)).await;
    connection.renew().await;
    assert!(is_known(connection.client()).await);
    let asked = server.0.lock().expect("no panic").1.clone();
    assert_eq!(asked["Bearer first"], 3, "{asked:?}");
}

#[tokio::test]
async fn no_more_is_asked_than_the_limits_allow() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, address) = Server::start("it").await;
    let file = kubeconfig(directory.path(), address, "token: it");
    let limits = Limits {
        qps: Some(20.0),
        burst: Some(2),
        in_flight: None,
    };
    let connection = connect(file.clone(), limits).await;
    let begun = Instant::now();
    for _ in 0..6 {
        assert!(is_known(connection.client()).await);
    }
    // Two at once, and two more each tenth of a second.
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    let without = connect(file, Limits::default()).await;
    let begun = Instant::now();
    for _ in 0..6 {
        assert!(is_known(without.client()).await);
    }
    assert!(
        begun.elapsed() < Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
}
