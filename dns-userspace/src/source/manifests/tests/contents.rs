//! What files may say, and what is said about them.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Log, Running, service, show, write};
use crate::source::{
    Batch, Source,
    manifests::{Manifests, load::Directory},
};

#[test]
fn an_error_is_logged_with_its_place_and_once() {
    let directory = tempfile::tempdir().expect("a directory");
    write(
        directory.path(),
        "bad.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: x}]\n",
    );
    let mut read = Directory::new(directory.path().to_owned(), Vec::new());
    let mut scan = || {
        read.scan(&BTreeSet::new()).expect("reads");
    };
    let log = Log::of(&mut scan);
    for part in [
        "ERROR",
        "bad.yaml",
        "line 5 column 18",
        "invalid type: string \"x\"",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    assert_eq!(Log::of(&mut scan), "", "it has not changed");
    write(directory.path(), "bad.yaml", &service("web", "\"\""));
    let log = Log::of(&mut scan);
    for part in ["WARN", "Service shop/web", "clusterIP", "--service-cidr"] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[test]
fn what_cannot_be_named_is_skipped() {
    let directory = tempfile::tempdir().expect("a directory");
    let nameless = "apiVersion: v1\nkind: Service\nmetadata: {generateName: web-}\n---\n";
    let text = nameless.to_owned() + &service("Web_1", "10.96.0.1") + &service("db", "10.96.0.2");
    write(directory.path(), "a.yaml", &text);
    let mut read = Directory::new(directory.path().to_owned(), Vec::new());
    let mut batch = Batch::new();
    let log = Log::of(|| {
        batch = read.scan(&BTreeSet::new()).expect("reads");
    });
    assert_eq!(
        show(&batch),
        ["+ Namespace shop", "+ Service shop/db 10.96.0.2"]
    );
    assert!(
        log.contains("no metadata.name") && log.contains("Web_1"),
        "{log}"
    );
}

#[tokio::test]
async fn the_last_file_in_order_has_the_word() {
    let files = [
        ("a.yaml", &*service("web", "10.96.0.1")),
        ("b.yaml", &service("web", "10.96.0.2")),
    ];
    let (mut running, first) = Running::start(&files, &[]).await;
    assert_eq!(
        first,
        [
            "+ Namespace shop",
            "+ Service shop/web 10.96.0.2",
            "synchronised"
        ]
    );
    running.write("a.yaml", &service("web", "10.96.0.3"));
    running.silent().await;
    fs::remove_file(running.path().join("b.yaml")).expect("removed");
    assert_eq!(running.next().await, ["+ Service shop/web 10.96.0.3"]);
    running.write("0.yaml", &service("web", "10.96.0.4"));
    running.silent().await;
    // A real Namespace in place of the implied one, and back.
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {a: b}}}";
    running.write("ns.yaml", namespace);
    assert_eq!(running.next().await, ["+ Namespace shop"]);
    fs::remove_file(running.path().join("ns.yaml")).expect("removed");
    assert_eq!(running.next().await, ["+ Namespace shop"]);
    running.end().await;

    let log = Log::of(|| {
        let directory = tempfile::tempdir().expect("a directory");
        for (file, text) in files {
            write(directory.path(), file, text);
        }
        let mut read = Directory::new(directory.path().to_owned(), Vec::new());
        read.scan(&BTreeSet::new()).expect("reads");
    });
    for part in ["WARN", "Service shop/web", "a.yaml", "b.yaml"] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[tokio::test]
async fn addresses_are_assigned_from_ranges() {
    let without = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{ipFamilyPolicy: PreferDualStack, ports: [{{port: 80}}]}}\n---\n"
        )
    };
    let files = [("a.yaml", &*without("web"))];
    let ranges = ["10.96.0.0/12", "fd00:96::/108"];
    let (mut running, first) = Running::start(&files, &ranges).await;
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(
        first[1].starts_with("+ Service default/web 10."),
        "{first:?}"
    );
    assert!(first[1].contains(" fd00:96::"), "{first:?}");
    // One that takes its address explicitly moves it.
    let taken = first[1].split(' ').nth(3).expect("an address");
    running.write("b.yaml", &service("first", taken));
    let second = running.next().await;
    assert_eq!(second.len(), 3, "{second:?}");
    assert!(
        second[1].starts_with("+ Service default/web 10."),
        "{second:?}"
    );
    assert_ne!(second[1], first[1]);
    fs::remove_file(running.path().join("b.yaml")).expect("removed");
    let third = running.next().await;
    assert_eq!(third[0], first[1], "back where it was");
    assert_eq!(third[1..], ["- Namespace shop", "- Service shop/first"]);
    running.end().await;
}

#[tokio::test]
async fn a_missing_directory_is_an_error_that_says_what_to_do() {
    let (sender, _batches) = mpsc::channel(1);
    let source = Manifests::new("/nonexistent/manifests".into(), Vec::new());
    let error = source
        .run(sender, CancellationToken::new())
        .await
        .expect_err("missing");
    let text = error.to_string();
    assert!(
        text.contains("/nonexistent/manifests") && text.contains("--manifests"),
        "{text}"
    );
}

#[test]
fn an_unreadable_file_is_an_error_unless_one_is_root() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), "a.yaml", &service("web", "10.96.0.1"));
    let path = directory.path().join("a.yaml");
    let mut read = Directory::new(directory.path().to_owned(), Vec::new());
    let nothing = BTreeSet::new();
    assert_eq!(read.scan(&nothing).expect("reads").len(), 2);
    fs::set_permissions(&path, Permissions::from_mode(0o0)).expect("set");
    // Root reads it all the same; anyone else keeps what it said.
    assert_eq!(read.scan(&nothing).expect("reads"), Batch::new());
}
