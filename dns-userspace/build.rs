//! Embeds the eBPF object, if it has been built (`cargo xtask build-ebpf`), so that the daemon is
//! one file. Without it the daemon says so, and serves from the socket.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=HOPZERO_BPF_OBJECT");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let object = env::var_os("HOPZERO_BPF_OBJECT")
        .map_or_else(|| manifest.join("../target/bpf/hopzero.o"), PathBuf::from);
    // A path that does not exist is watched too: the build runs again when the object comes.
    println!("cargo:rerun-if-changed={}", object.display());
    let embedded = match fs::read(&object) {
        Ok(bytes) => {
            fs::write(out.join("hopzero.o"), bytes).expect("OUT_DIR is writable");
            "Some(aya::include_bytes_aligned!(concat!(env!(\"OUT_DIR\"), \"/hopzero.o\")))"
        }
        Err(_) => "None",
    };
    fs::write(out.join("object.rs"), embedded).expect("OUT_DIR is writable");
}
