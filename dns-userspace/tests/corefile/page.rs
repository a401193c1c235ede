//! `docs/corefile.md`: every directive has its section, and the examples can be used.

use std::{fs, path::Path};

use hopzero::{
    corefile::Corefile,
    plugin::{
        Environment,
        table::{DIRECTIVES, Support},
    },
    server::Servers,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// What a section consists of, in this order.
const HEADINGS: [&str; 6] = [
    "Name",
    "Description",
    "Syntax",
    "Metrics",
    "Examples",
    "Kernel",
];

/// Files that examples read, beside certificates.
const FILES: [(&str, &str); 5] = [
    (
        "etc/resolv.conf",
        "search example.org\nnameserver 192.0.2.1\n",
    ),
    ("etc/hosts", "192.0.2.7 printer.example.org\n"),
    (
        "etc/hopzero/example.org.zone",
        "@ 3600 IN SOA ns admin 1 7200 3600 1209600 300\n@ 3600 IN NS ns\nns 3600 IN A 192.0.2.53\n",
    ),
    (
        "etc/hopzero/weights",
        "www.example.org\n192.0.2.1 3\n192.0.2.2 7\n",
    ),
    (
        "etc/hopzero/web.yml",
        "tls_server_config: {cert_file: tls.pem, key_file: tls-key.pem}\n",
    ),
];

pub struct Example {
    pub line: usize,
    text: String,
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/corefile.md");
    fs::read_to_string(path).unwrap()
}

/// # Errors
///
/// A directive without a section, a section without a directive, a section without a heading.
pub fn every_directive() -> Result<(), String> {
    let page = page();
    let is_here = |(_, support): &&(&str, Support)| matches!(support, Support::Here(_));
    let mut here: Vec<&str> = DIRECTIVES
        .iter()
        .filter(is_here)
        .map(|(name, _)| *name)
        .collect();
    here.sort_unstable();
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    let names: Vec<&str> = (sections.iter())
        .map(|section| section.lines().next().unwrap_or_default())
        .collect();
    if names != here {
        return Err(format!("sections\n  {names:?}\ndirectives\n  {here:?}"));
    }
    for (name, section) in names.iter().zip(sections) {
        let headings: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        if headings != HEADINGS {
            return Err(format!("{name}: {headings:?}"));
        }
    }
    Ok(())
}

/// The blocks that are marked as `corefile`.
pub fn examples() -> Vec<Example> {
    let page = page();
    let mut examples = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((line, text)) = lines.next() {
        if text == "```corefile" {
            let text = lines.by_ref().map(|(_, text)| text);
            let text: Vec<&str> = text.take_while(|text| *text != "```").collect();
            examples.push(Example {
                line,
                text: text.join("\n"),
            });
        }
    }
    examples
}

/// A certificate that others can be signed with, and its key.
fn authority() -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// # Errors
///
/// It cannot be used.
pub fn check(example: &Example) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in FILES {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let (authority, key) = authority();
    for (name, text) in [
        ("ca.pem", &authority),
        ("tls.pem", &authority),
        ("tls-key.pem", &key),
    ] {
        fs::write(directory.path().join("etc/hopzero").join(name), text).unwrap();
    }
    // The files of the machine are those of the test.
    let here = format!("{}/etc/", directory.path().display());
    let text = example.text.replace("/etc/", &here);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Some plugins start tasks of their own.
    let _entered = runtime.enter();
    let corefile = Corefile::parse(&directory.path().join("Corefile"), text, &|_| None);
    corefile
        .and_then(|corefile| Servers::build(&corefile, 53, &Environment::default()))
        .map_err(|error| error.report(false))?;
    Ok(())
}
