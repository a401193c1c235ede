//! Forwarding, as transcripts: what a client asks, what the upstream sees and says, what the client gets and what is
//! logged. The cases are in `cases/*.txt`; `script.rs` says what they may consist of.

mod certificates;
mod log;
mod script;
mod text;
mod upstream;
mod world;

use std::{fs, path::Path, sync::Arc};

use libtest_mimic::{Arguments, Trial};

fn main() {
    let certificates = Arc::new(certificates::Certificates::make());
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forward/cases");
    let mut files: Vec<_> = fs::read_dir(cases)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut trials = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        for case in script::cases(&text) {
            let certificates = Arc::clone(&certificates);
            let name = format!("{file}: {}", case.name);
            trials.push(Trial::test(name, move || {
                world::run(&case, &certificates).map_err(Into::into)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
