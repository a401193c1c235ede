//! Files that change under a running source.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use super::{Running, service, write};
use crate::source::manifests::FILE_BYTES_MAX;

/// From the file event to the batch.
const APPLIED_WITHIN_MS: u128 = 100;

#[tokio::test]
async fn everything_comes_once_and_then_differences() {
    let two = service("web", "10.96.0.1") + &service("db", "None");
    let (mut running, first) = Running::start(&[("a.yaml", &two)], &[]).await;
    assert_eq!(
        first,
        [
            "+ Namespace shop",
            "+ Service shop/db None",
            "+ Service shop/web 10.96.0.1",
            "synchronised"
        ]
    );
    // The best of a few: other tests run beside this one.
    let mut best = u128::MAX;
    for last in 2..5 {
        let begin = Instant::now();
        let web = service("web", &format!("10.96.0.{last}"));
        running.write("a.yaml", &(web + &service("db", "None")));
        let expected = format!("+ Service shop/web 10.96.0.{last}");
        assert_eq!(running.next().await, [expected]);
        best = best.min(begin.elapsed().as_millis());
    }
    assert!(best < APPLIED_WITHIN_MS, "{best} ms");

    // A new file in a new directory; one that is no manifest; comments that change nothing.
    running.write("deep/er/b.yml", &service("api", "10.96.0.3"));
    assert_eq!(running.next().await, ["+ Service shop/api 10.96.0.3"]);
    running.write("deep/er/notes.txt", &service("no", "10.96.0.4"));
    running.write(
        "deep/er/b.yml",
        &("# why\n".to_owned() + &service("api", "10.96.0.3")),
    );
    running.silent().await;

    // The directory that came later is watched as well.
    running.write("deep/er/b.yml", &service("api", "10.96.0.5"));
    assert_eq!(running.next().await, ["+ Service shop/api 10.96.0.5"]);

    // Renamed: the same object from another file. Moved out, and removed.
    fs::rename(
        running.path().join("deep/er/b.yml"),
        running.path().join("c.yml"),
    )
    .expect("moved");
    running.silent().await;
    fs::rename(running.path().join("c.yml"), running.path().join("c.bak")).expect("moved");
    assert_eq!(running.next().await, ["- Service shop/api"]);
    fs::remove_file(running.path().join("a.yaml")).expect("removed");
    assert_eq!(
        running.next().await,
        [
            "- Namespace shop",
            "- Service shop/db",
            "- Service shop/web"
        ]
    );
    running.end().await;
}

#[tokio::test]
async fn editors_write_in_their_own_ways() {
    let old = service("web", "10.96.0.1") + &service("db", "10.96.0.9");
    let new = |address| service("web", address) + &service("db", "10.96.0.9");
    let (mut running, _) = Running::start(&[("a.yaml", &old)], &[]).await;
    let path = running.path().join("a.yaml");

    // Another file renamed over it.
    running.write(".a.yaml.swp", &new("10.96.0.2"));
    fs::rename(running.path().join(".a.yaml.swp"), &path).expect("renamed");
    assert_eq!(running.next().await, ["+ Service shop/web 10.96.0.2"]);

    // The old one renamed away, then a new one.
    fs::rename(&path, running.path().join("a.yaml~")).expect("renamed");
    running.write("a.yaml", &new("10.96.0.3"));
    assert_eq!(running.next().await, ["+ Service shop/web 10.96.0.3"]);

    // Truncated, and written bit by bit: half a file is never applied.
    let text = new("10.96.0.4");
    let mut file = fs::File::create(&path).expect("opened");
    for bit in text.as_bytes().chunks(40) {
        file.write_all(bit).expect("written");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    drop(file);
    assert_eq!(running.next().await, ["+ Service shop/web 10.96.0.4"]);

    // A mounted ConfigMap: the link to the directory of the data is exchanged.
    for (version, address) in [("..1", "10.96.0.5"), ("..2", "10.96.0.6")] {
        write(
            running.path(),
            &format!("map/{version}/m.yaml"),
            &service("map", address),
        );
    }
    symlink("..1", running.path().join("map/..data")).expect("linked");
    symlink("..data/m.yaml", running.path().join("map/m.yaml")).expect("linked");
    assert_eq!(running.next().await, ["+ Service shop/map 10.96.0.5"]);
    symlink("..2", running.path().join("map/..tmp")).expect("linked");
    fs::rename(
        running.path().join("map/..tmp"),
        running.path().join("map/..data"),
    )
    .expect("renamed");
    assert_eq!(running.next().await, ["+ Service shop/map 10.96.0.6"]);
    running.end().await;
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_contents() {
    let (mut running, _) = Running::start(&[("a.yaml", &service("web", "10.96.0.1"))], &[]).await;
    running.write(
        "a.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: [}\n",
    );
    running.silent().await;
    // A wrong type, not UTF-8, too long, not to be read, and no file any more.
    running.write(
        "a.yaml",
        "apiVersion: v1\nkind: Service\nspec: {ports: [{port: x}]}\n",
    );
    running.silent().await;
    fs::write(running.path().join("a.yaml"), b"kind: \xff").expect("written");
    running.silent().await;
    let file = fs::File::create(running.path().join("a.yaml")).expect("opened");
    file.set_len(FILE_BYTES_MAX + 1).expect("extended");
    drop(file);
    running.silent().await;
    // Others are applied meanwhile.
    running.write("b.yaml", &service("db", "10.96.0.2"));
    assert_eq!(running.next().await, ["+ Service shop/db 10.96.0.2"]);
    running.write("a.yaml", &service("web", "10.96.0.3"));
    assert_eq!(running.next().await, ["+ Service shop/web 10.96.0.3"]);
    running.end().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_any_more_keeps_what_was_in_it() {
    let files = [("sub/a.yaml", &*service("web", "10.96.0.1"))];
    let (mut running, _) = Running::start(&files, &[]).await;
    // The whole tree put aside: nothing is known, so nothing is taken away.
    let aside = running.path().with_extension("aside");
    fs::rename(running.path(), &aside).expect("renamed");
    running.silent().await;
    fs::rename(&aside, running.path()).expect("renamed");
    running.silent().await;
    running.write("sub/a.yaml", &service("web", "10.96.0.2"));
    assert_eq!(running.next().await, ["+ Service shop/web 10.96.0.2"]);
    running.end().await;
}
