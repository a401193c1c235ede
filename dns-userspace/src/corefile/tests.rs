//! The language as a whole: what is read, and what is refused where.

use std::{fmt::Write as _, fs, path::Path};

use super::{Corefile, CorefileError, Directive};

fn parse(text: &str) -> Result<Corefile, CorefileError> {
    Corefile::parse(Path::new("Corefile"), text.to_owned(), &|name| {
        (name == "UPSTREAM").then(|| "192.0.2.1".to_owned())
    })
}

/// One line for each block and each directive, indented by depth.
fn outline(corefile: &Corefile) -> String {
    fn directive(out: &mut String, line: &Directive, depth: usize) {
        let words: Vec<&str> = std::iter::once(&line.name)
            .chain(&line.args)
            .map(|word| word.text.as_str())
            .collect();
        let _ = writeln!(out, "{:depth$}{}", "", words.join("|"));
        for property in line.properties() {
            directive(out, property, depth + 1);
        }
    }
    let mut out = String::new();
    for block in &corefile.blocks {
        let keys: Vec<&str> = block.keys.iter().map(|key| key.text.as_str()).collect();
        let _ = writeln!(out, "{}:", keys.join("|"));
        for line in &block.directives {
            directive(&mut out, line, 1);
        }
    }
    out
}

#[test]
fn blocks_and_directives_are_told_apart() {
    for (text, expected) in [
        ("", ""),
        (".", ".:\n"),
        (". {\n}", ".:\n"),
        (".\nerrors\nlog", ".:\n errors\n log\n"),
        ("a b, c,\nd\n{\n x y\n}\n", "a|b|c|d:\n x|y\n"),
        (". {\n a\n}\nb {\n c\n}", ".:\n a\nb:\n c\n"),
        (". { a\n}", ".:\n a\n"),
        (
            ". {\n f . 1 {\n  p \"q r\"\n  s {\n   t\n  }\n }\n g\n}",
            ".:\n f|.|1\n  p|q r\n  s\n   t\n g\n",
        ),
        (". {\n a\n {\n  b\n }\n}", ".:\n a\n  b\n"),
        (". {\n a {\n }\n b { }\n}", ".:\n a\n b\n"),
        (
            ". {\n f {$UPSTREAM} x{%UPSTREAM%}\n}",
            ".:\n f|192.0.2.1|x192.0.2.1\n",
        ),
        ("{$UPSTREAM} {\n}", "192.0.2.1:\n"),
        (
            "(s) {\n a\n b {\n  c\n }\n}\n. {\n import s\n d\n}",
            ".:\n a\n b\n  c\n d\n",
        ),
        (
            "(s) { a }\n. {\n x {\n  import s\n  b\n }\n}",
            ".:\n x\n  a\n  b\n",
        ),
        ("(s) {\n}\n. {\n import s\n}", ".:\n"),
    ] {
        let corefile = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(outline(&corefile), expected, "{text}");
    }
}

#[test]
fn faults_are_told_with_their_place() {
    for (text, place, message) in [
        (". {\n a\n", "1:3", "`{` is never closed"),
        (". {\n a {\n }\n", "1:3", "`{` is never closed"),
        (". {\n}\n}", "3:1", "closes nothing"),
        ("{\n}", "1:1", "without a zone"),
        (". {\n {\n }\n}", "2:2", "without a name"),
        (". {\n a { b }\n}", "2:8", "taken for an argument"),
        (". {\n a {\n } b\n}", "3:4", "follows the `}`"),
        ("a, {\n}", "1:1", "follows this comma"),
        (". {\n a \"b\n}", "2:4", "quote is never closed"),
        (". {\n import\n}", "2:2", "`import` of what"),
        (". {\n import a b\n}", "2:11", "one argument"),
        (". {\n import nothing\n}", "2:9", "no file"),
        (". {\n import */*\n}", "2:9", "several wildcards"),
        ("(s) {\n}\n(s) {\n}", "3:1", "a snippet `s` already"),
        ("(s)", "1:1", "no body"),
        ("(s) {\n import s\n}\n. {\n import s\n}", "2:9", "imports"),
    ] {
        let error = parse(text).map(|corefile| outline(&corefile)).unwrap_err();
        let line = error.to_string();
        assert!(
            line.starts_with(&format!("Corefile:{place}: ")),
            "{text}: {line}"
        );
        assert!(line.contains(message), "{text}: {line}");
    }
}

#[test]
fn the_report_shows_the_line_and_what_was_expected() {
    let error = parse(". {\n    import ünknown\n}").unwrap_err();
    let report = error.report(false);
    for part in [
        "Error: there is no file",
        "Corefile:2:12",
        "import ünknown",
        "expected a file",
    ] {
        assert!(report.contains(part), "{part} in:\n{report}");
    }
}

#[test]
fn files_are_imported_relative_to_their_importer() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "Corefile",
        "import servers\n. {\n import custom/*.override\n import none/*.x\n z\n}\n",
    );
    write("servers", "a {\n b\n}\n");
    write("custom/1.override", "c\nimport deeper/e");
    write("custom/2.override", "d {\n f\n}");
    write("custom/3.server", "never");
    write("custom/deeper/e", "e");
    let corefile = Corefile::read(&directory.path().join("Corefile")).unwrap();
    assert_eq!(outline(&corefile), "a:\n b\n.:\n c\n e\n d\n  f\n z\n");
    assert_eq!(corefile.sources.iter().count(), 5);
    assert!(
        corefile.warnings[0].contains("none/*.x"),
        "{:?}",
        corefile.warnings
    );

    write("custom/2.override", "d \"x\n");
    let error = Corefile::read(&directory.path().join("Corefile")).unwrap_err();
    assert!(error.place().file.ends_with("custom/2.override"), "{error}");
    assert_eq!((error.place().line, error.place().column), (1, 3));

    let error = Corefile::read(&directory.path().join("missing")).unwrap_err();
    assert!(
        error.to_string().contains("missing:1:1: cannot read it"),
        "{error}"
    );
}
