//! Something that is missing, and the commands that bring it.

use std::process::Command;

use crate::workspace;

/// Something that is missing.
#[derive(Debug)]
pub struct Need {
    /// What it is.
    pub what: String,
    /// What it is needed for.
    pub why: &'static str,
    /// How to get it; the first way that works is enough.
    pub ways: Vec<Way>,
    /// Whether the rest is of use without it.
    pub optional: bool,
}

/// Commands, one after the other.
#[derive(Debug)]
pub struct Way {
    /// All of them have to succeed.
    pub steps: Vec<Step>,
}

impl Way {
    /// The commands as one would type them.
    pub fn shell(&self) -> String {
        let lines: Vec<String> = self.steps.iter().map(Step::shell).collect();
        lines.join("\n")
    }
}

/// One command.
#[derive(Debug)]
pub struct Step {
    /// What the progress line says.
    pub what: String,
    argv: Vec<String>,
    envs: Vec<(&'static str, String)>,
    root: bool,
}

impl Step {
    /// A command that any user may run.
    pub fn new(what: impl Into<String>, argv: &[&str]) -> Self {
        Self {
            what: what.into(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            envs: Vec::new(),
            root: false,
        }
    }

    /// A command for root.
    pub fn root(what: impl Into<String>, argv: &[&str]) -> Self {
        Self {
            root: true,
            ..Self::new(what, argv)
        }
    }

    /// Sets a variable for the command.
    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.envs.push((name, value.into()));
        self
    }

    /// The command, ready to run.
    pub fn command(&self) -> Command {
        let mut command = workspace::command(&self.argv[0]);
        command.args(&self.argv[1..]);
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The command as one would type it.
    pub fn shell(&self) -> String {
        let sudo = self.root && !workspace::is_root();
        let mut words = Vec::new();
        if sudo {
            words.push("sudo".to_owned());
        }
        for (name, value) in &self.envs {
            words.push(format!("{name}={}", quote(value)));
        }
        words.extend(self.argv.iter().map(|word| quote(word)));
        words.join(" ")
    }
}

/// A word for the shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_commands_can_be_pasted() {
        let step = Step::new("x", &["sh", "-c", "echo 'a b'"]).env("A", "b c");
        assert_eq!(step.shell(), r"A='b c' sh -c 'echo '\''a b'\'''");
        let output = Command::new("sh")
            .args(["-c", &step.shell()])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"a b\n");
    }
}
