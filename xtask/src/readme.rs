//! The README's commands are run by CI, or it does not get to show them.

use std::fs;

use crate::workspace;

/// The lines of the fenced `sh` blocks of a Markdown text.
fn commands(markdown: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut in_shell = false;
    for line in markdown.lines() {
        match line.strip_prefix("```") {
            Some(language) => in_shell = !in_shell && language == "sh",
            None if in_shell && !line.is_empty() && !line.starts_with('#') => commands.push(line),
            None => {}
        }
    }
    commands
}

/// Whether CI's script runs `command`, perhaps with more arguments.
fn is_run(command: &str, script: &str) -> bool {
    script.lines().any(|line| {
        line.trim()
            .strip_prefix(command)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

fn read(file: &str) -> String {
    fs::read_to_string(workspace::root().join(file)).unwrap()
}

#[test]
fn ci_runs_every_command_of_the_readme() {
    let script = read(".ci/run");
    let readme = read("README.md");
    let shown = commands(&readme);
    assert!(shown.contains(&"cargo xtask demo") && shown.contains(&"cargo xtask test"));
    for command in shown {
        assert!(is_run(command, &script), "CI does not run: {command}");
    }
}

#[test]
fn ci_is_documented_as_what_it_is() {
    let contributing = read("CONTRIBUTING.md");
    assert_eq!(
        commands(&contributing),
        ["cargo xtask setup --dev", ".ci/run"]
    );
}

#[test]
fn the_last_thing_that_ci_runs_are_the_tests() {
    let script = read(".ci/run");
    assert_eq!(script.lines().last(), Some("cargo xtask test"));
}

#[test]
fn only_shell_blocks_are_commands() {
    let text = "```sh\n# a comment\na b\n```\n\n```text\nnot this\n```\n```sh\nc\n```\n";
    assert_eq!(commands(text), ["a b", "c"]);
    assert!(is_run("a b", "  a b --more &\n") && !is_run("a b", "a bc\n"));
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    for file in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        for target in read(file).split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.starts_with("https://") {
                let path = workspace::root().join(target);
                assert!(
                    path.exists(),
                    "{file} links to {target}, which is not there"
                );
            }
        }
    }
}
