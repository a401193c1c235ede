//! `hopzero check-config`: what it prints, and how it ends.

use std::fs;

use crate::daemon::{Output, run};

fn check(corefile: &str, args: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    fs::write(&file, corefile).unwrap();
    let file = file.to_str().unwrap();
    run(&[&["check-config", file], args].concat())
}

#[test]
fn it_prints_what_the_kernel_may_answer_and_why_not_the_rest() {
    let output = check(
        "
.:53 {
    errors
    forward . 127.0.0.1:1
    kubernetes cluster.local in-addr.arpa {
        fallthrough in-addr.arpa
    }
}
foo.cluster.local:53 {
    whoami
}
example.org:5353 {
    whoami
}
",
        &[],
    );
    let expected = "\
dns://:53
  . errors kubernetes forward
  foo.cluster.local. whoami
dns://:5353
  example.org. whoami

kernel: names of cluster.local. in-addr.arpa., except
  what does not exist of in-addr.arpa. and below  for `fallthrough` of `kubernetes`
  foo.cluster.local. and all below                for the server block foo.cluster.local., which has no `kubernetes` for it
";
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, expected),
        "{}",
        output.stderr
    );
}

#[test]
fn all_names_or_none() {
    for (corefile, last) in [
        (
            ".:53 {\nkubernetes cluster.local\n}\n",
            "kernel: all names of cluster.local.",
        ),
        (
            ".:53 {\nwhoami\n}\n",
            "kernel: nothing, since no server block has `kubernetes`",
        ),
    ] {
        for args in [&[][..], &["--answer-for", "10.96.0.10"]] {
            let output = check(corefile, args);
            assert_eq!(output.code, 0, "{}", output.stderr);
            assert_eq!(output.stdout.lines().last(), Some(last));
        }
    }
}

#[test]
fn what_is_wrong_is_shown_with_its_place() {
    let output = check(".:53 {\nkubernetse cluster.local\n}\n", &[]);
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(
        output.stderr.contains("did you mean `kubernetes`?"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("Corefile:2:1"), "{}", output.stderr);
    let output = run(&["check-config", "/nonexistent/Corefile"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    let output = check("", &["--answer-for", "dns"]);
    assert_eq!(output.code, 2);
}
