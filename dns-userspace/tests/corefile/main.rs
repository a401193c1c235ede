//! Corefiles: those that products ship (`configmaps/`), and the language, rule by rule (`language/`).
//!
//! And the examples of `docs/corefile.md`.
//!
//! Each file has parts that begin with `== `; a case of the language is one part, `configmap.rs` says what the parts of
//! a `ConfigMap` are.

mod configmap;
mod language;
mod outline;
mod page;

use std::{
    fs,
    path::{Path, PathBuf},
};

use libtest_mimic::{Arguments, Trial};

fn main() {
    let mut trials = Vec::new();
    for path in files("configmaps") {
        let text = fs::read_to_string(&path).unwrap();
        let name = format!("configmap: {}", stem(&path));
        trials.push(Trial::test(name, move || {
            configmap::check(&text).map_err(Into::into)
        }));
    }
    for path in files("language") {
        let text = fs::read_to_string(&path).unwrap();
        for case in language::cases(&text) {
            let name = format!("language: {}: {}", stem(&path), case.name);
            trials.push(Trial::test(name, move || {
                language::check(&case).map_err(Into::into)
            }));
        }
    }
    trials.push(Trial::test("page: every directive", || {
        page::every_directive().map_err(Into::into)
    }));
    for example in page::examples() {
        let name = format!("page: line {}", example.line);
        trials.push(Trial::test(name, move || {
            page::check(&example).map_err(Into::into)
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn files(of: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corefile");
    let files = fs::read_dir(directory.join(of)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// A text in parts: what stands behind `== `, and the lines below it.
fn parts(text: &str) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            parts.push((title.to_owned(), String::new()));
        } else if let Some((_, body)) = parts.last_mut() {
            *body += line;
            body.push('\n');
        }
    }
    parts
}

/// Equal, or where they begin to differ.
fn same(what: &str, is: &str, expected: &str) -> Result<(), String> {
    if is.trim_end() == expected.trim_end() {
        return Ok(());
    }
    Err(format!(
        "{what}\n--- is\n{}\n--- expected\n{}",
        is.trim_end(),
        expected.trim_end()
    ))
}
