//! A Corefile as a product ships it.
//!
//! ```text
//! the product, its version, and where it has it
//! == file Corefile
//! == file NAME         other files of the ConfigMap, or of the machine (`etc/resolv.conf`)
//! == tree              what the Corefile says
//! == missing           directives that hopzero does not have; the others are built
//! ```

use std::{collections::BTreeSet, fs};

use hopzero::{
    corefile::Corefile,
    plugin::{
        Environment,
        table::{DIRECTIVES, Support},
    },
    server::Servers,
};

use crate::{outline::outline, parts, same};

pub fn check(text: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display().to_string();
    let parts = parts(text);
    let part = |title: &str| {
        let mut all = parts.iter();
        all.find(|(known, _)| known == title)
            .map(|(_, body)| body.as_str())
    };
    for (title, body) in &parts {
        if let Some(name) = title.strip_prefix("file ") {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, body).unwrap();
        }
    }
    let corefile = part("file Corefile").ok_or("no Corefile")?.to_owned();
    let path = directory.path().join("Corefile");
    let parsed = Corefile::parse(&path, corefile.clone(), &|_| None);
    let tree = parsed.and_then(|parsed| outline(&parsed));
    same(
        "tree",
        &tree.map_err(|error| error.to_string())?,
        part("tree").unwrap_or_default(),
    )?;

    // The files of the machine are those of the case.
    let here = corefile.replace("/etc/", &format!("{root}/etc/"));
    let mut parsed = Corefile::parse(&path, here, &|_| None).map_err(|error| error.to_string())?;
    let mut missing = BTreeSet::new();
    for block in &mut parsed.blocks {
        block.directives.retain(|directive| {
            let name = directive.name.text.as_str();
            let is_here = |(known, support): &(&str, Support)| {
                *known == name && matches!(support, Support::Here(_))
            };
            let kept = DIRECTIVES.iter().any(is_here);
            if !kept {
                missing.insert(name.to_owned());
            }
            kept
        });
    }
    let missing: Vec<String> = missing.into_iter().collect();
    same(
        "missing",
        &missing.join(" "),
        part("missing").unwrap_or_default(),
    )?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Some plugins start tasks of their own.
    let _entered = runtime.enter();
    let servers = Servers::build(&parsed, 53, &Environment::default());
    servers.map_err(|error| error.report(false))?;
    Ok(())
}
