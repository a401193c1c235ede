//! `cargo xtask image`: an OCI image of one static program, built without a container engine.
//!
//! The same program gives the same digest: nothing in the image tells when, where or by whom it was made
//! (OCI image specification 1.1, image-layout.md, manifest.md, config.md).

use std::process::ExitCode;

use anyhow::Result;

#[cfg(feature = "image")]
mod layout;

#[cfg(feature = "image")]
pub fn run() -> Result<ExitCode> {
    use std::{fs, process::Command};

    use anyhow::{Context as _, ensure};

    use crate::{EXIT_TO_DO, dist, workspace};

    let Some(binary) = dist::build()? else {
        return Ok(ExitCode::from(EXIT_TO_DO));
    };
    let program = fs::read(&binary).with_context(|| binary.display().to_string())?;
    let directory = workspace::target_dir().join("image");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    // The Dockerfile copies it from here; and whoever wants to see what is in the image.
    let root = directory.join("root");
    fs::create_dir_all(&root)?;
    fs::copy(&binary, root.join("hopzero"))?;
    let image = layout::Image::new(&program, dist::VERSION)?;
    image.write_directory(&directory.join("oci"))?;
    let archive = directory.join("hopzero.tar");
    fs::write(&archive, image.archive()?)?;

    // It starts where there is nothing else.
    if workspace::is_root() {
        let output = Command::new("chroot")
            .arg(&root)
            .args(["/hopzero", "--version"])
            .output()?;
        let version = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && version.contains(dist::VERSION),
            "alone in its root it does not start: {output:?}"
        );
    }
    println!("{} ({} bytes of program)", archive.display(), program.len());
    println!("{}", image.digest());
    Ok(ExitCode::SUCCESS)
}

/// The crates for it are not built before they are needed.
#[cfg(not(feature = "image"))]
pub fn run() -> Result<ExitCode> {
    let status = crate::workspace::cargo()
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask",
            "--features",
            "image",
        ])
        .args(["--", "image"])
        .status()?;
    Ok(ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    ))
}
