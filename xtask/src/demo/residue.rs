//! The names of what the demo makes carry its process id: so it can tell what it left, and what a
//! demo that was killed could not remove.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

const PREFIX: &str = "hz-demo-";

/// The name of this demo's `kind` of thing.
pub fn name(kind: &str) -> String {
    format!("{PREFIX}{kind}-{}", process::id())
}

/// What is still there of this demo in `directories`.
pub fn of_this_demo(directories: &[&Path]) -> Vec<PathBuf> {
    let end = format!("-{}", process::id());
    find(directories, |name| {
        name.starts_with(PREFIX) && name.ends_with(&end)
    })
}

/// What is there in `directories` of demos that run no more.
pub fn of_dead_demos(directories: &[&Path]) -> Vec<PathBuf> {
    find(directories, |name| {
        is_stale(name, |pid| Path::new("/proc").join(pid).exists())
    })
}

fn find(directories: &[&Path], wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .flatten()
        .filter(|entry| wanted(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect()
}

fn is_stale(name: &str, is_running: impl Fn(&str) -> bool) -> bool {
    let Some(pid) = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .map(|(_, pid)| pid)
    else {
        return false;
    };
    !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) && !is_running(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_things_of_a_dead_demo_are_stale() {
        let running = |pid: &str| pid == "7";
        assert!(is_stale("hz-demo-pod-6", running));
        assert!(!is_stale("hz-demo-pod-7", running));
        assert!(!is_stale("hz-demo-pod-", running));
        assert!(!is_stale("hz-demo-pod-x", running));
        assert!(!is_stale("other-pod-6", running));
    }
}
