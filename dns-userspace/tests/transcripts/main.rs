//! Plugins, as transcripts: what a client asks, what an upstream sees and says, what the client gets and what is
//! logged. The cases are in `cases/*/*.txt`; `script.rs` says what they may consist of.

mod certificates;
mod cluster;
mod log;
mod script;
mod text;
mod upstream;
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use libtest_mimic::{Arguments, Trial};

fn main() {
    let certificates = Arc::new(certificates::Certificates::make());
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/cases");
    let mut trials = Vec::new();
    for path in files(&cases).iter().flat_map(|directory| files(directory)) {
        let text = fs::read_to_string(&path).unwrap();
        let of = path.strip_prefix(&cases).unwrap().with_extension("");
        for case in script::cases(&text) {
            let case = Arc::new(case);
            for slowly in [false, true] {
                // A fault is found before anything is asked.
                if slowly && case.steps.iter().all(|step| !step.starts_with("ask ")) {
                    continue;
                }
                let (case, certificates) = (Arc::clone(&case), Arc::clone(&certificates));
                let how = if slowly { ", slowly" } else { "" };
                let name = format!("{}: {}{how}", of.display(), case.name);
                trials.push(Trial::test(name, move || {
                    world::run(&case, &certificates, slowly).map_err(Into::into)
                }));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}
