//! The language: a text, and what it is or what is wrong with it.
//!
//! ```text
//! == name of the case
//! file NAME | LINE | LINE      files that may be imported, if wanted
//! env NAME=VALUE               the same for variables
//! ---
//! the text; ␍ is a carriage return, ␄ a byte order mark
//! ---
//! its outline; or
//! error LINE:COLUMN: MESSAGE   the beginning of the message; `FILE:LINE:COLUMN` in a file that was imported
//! ```

use std::fs;

use hopzero::corefile::Corefile;

use crate::{outline::outline, parts, same};

pub struct Case {
    pub name: String,
    setting: String,
    text: String,
    expected: String,
}

pub fn cases(file: &str) -> Vec<Case> {
    let parts = parts(file).into_iter();
    let cases = parts.map(|(name, body)| {
        let body = format!("\n{body}");
        let mut fields = body.split("\n---\n");
        let mut field = |what: &str| {
            let field = fields.next();
            field
                .unwrap_or_else(|| panic!("{name}: no {what}"))
                .to_owned()
        };
        let setting = field("setting");
        let text = field("text").replace('␍', "\r").replace('␄', "\u{feff}");
        let expected = field("expectation");
        Case {
            name: name.clone(),
            setting,
            text,
            expected,
        }
    });
    cases.collect()
}

pub fn check(case: &Case) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let mut variables = Vec::new();
    for line in case.setting.lines() {
        if let Some(file) = line.strip_prefix("file ") {
            let mut lines = file.split(" | ");
            let path = directory.path().join(lines.next().unwrap());
            let content: String = lines.flat_map(|line| [line, "\n"]).collect();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        } else if let Some((name, value)) =
            line.strip_prefix("env ").and_then(|v| v.split_once('='))
        {
            variables.push((name.to_owned(), value.to_owned()));
        }
    }
    let variable = |name: &str| {
        let mut all = variables.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let path = directory.path().join("Corefile");
    let told = Corefile::parse(&path, case.text.clone(), &variable)
        .and_then(|corefile| outline(&corefile));
    let root = format!("{}/", directory.path().display());
    match told {
        Ok(outline) => same("outline", &outline, &case.expected),
        Err(error) => {
            let line = error.to_string().replace(&root, "");
            let line = format!("error {}", line.replace("Corefile:", ""));
            // What was expected there is not part of the cases.
            if line.starts_with(case.expected.trim_end()) && case.expected.starts_with("error ") {
                Ok(())
            } else {
                same("error", &line, &case.expected)
            }
        }
    }
}
