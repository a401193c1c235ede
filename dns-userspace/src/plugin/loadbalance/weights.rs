//! The weights of `loadbalance weighted`.
//!
//! ```text
//! www.example.com         a name, and
//! 192.0.2.1 3             its addresses, each with a weight from 1 to 255
//! 192.0.2.2 7             an address that is not listed has 1
//! ```
//!
//! A file that cannot be read, or has an error, leaves the weights as they were.

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use hickory_proto::rr::Name;

use crate::{
    corefile::{Fault, Word},
    plugin::text,
};

/// How often the file is looked at.
pub(super) const RELOAD_DEFAULT: Duration = Duration::from_secs(30);
const TARGET: &str = "plugin/loadbalance";

/// Weights of the addresses of names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Weights(HashMap<Name, HashMap<IpAddr, u8>>);

/// A file with weights, and what was in it last.
pub(super) struct WeightFile {
    path: PathBuf,
    reload: Duration,
    weights: RwLock<Arc<Weights>>,
}

impl Weights {
    /// Reads the lines of a file.
    pub(super) fn parse(lines: &str) -> Result<Self, String> {
        let mut weights = Weights::default();
        let mut current: Option<Name> = None;
        for line in lines.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [name] if name.parse::<IpAddr>().is_err() => {
                    let parsed = text::name(name);
                    let name = parsed.ok_or_else(|| format!("`{name}` is not a name"))?;
                    weights.0.entry(name.clone()).or_default();
                    current = Some(name);
                }
                [address] => return Err(format!("`{address}` has no weight")),
                [address, weight] => {
                    let parsed: Result<IpAddr, _> = address.parse();
                    let address = parsed.map_err(|_| format!("`{address}` is not an address"))?;
                    let weight = (weight.parse().ok())
                        .filter(|weight| *weight > 0)
                        .ok_or_else(|| format!("`{weight}` is not a weight from 1 to 255"))?;
                    let addresses = current
                        .as_ref()
                        .and_then(|name| weights.0.get_mut(name))
                        .ok_or_else(|| format!("no name before {address}"))?;
                    // The first of its lines counts.
                    addresses.entry(address).or_insert(weight);
                }
                _ => {
                    return Err(format!(
                        "`{line}` is neither a name nor an address with a weight"
                    ));
                }
            }
        }
        Ok(weights)
    }

    /// The weight of a name's address.
    pub(super) fn of(&self, name: &Name, address: IpAddr) -> u32 {
        // Names compare and hash without case.
        let addresses = self.0.get(name);
        let weight = addresses.and_then(|addresses| addresses.get(&address));
        weight.copied().unwrap_or(1).into()
    }
}

impl WeightFile {
    /// Reads the file for the first time. It may come later, if it is looked at again.
    pub(super) fn open(path: PathBuf, word: &Word, reload: Duration) -> Result<Self, Fault> {
        let file = WeightFile {
            path,
            reload,
            weights: RwLock::default(),
        };
        match fs::read_to_string(&file.path) {
            Ok(text) => {
                let weights = Weights::parse(&text).map_err(|error| word.not(&error))?;
                file.set(weights);
            }
            Err(error) if reload.is_zero() => {
                return Err(word.not(&format!("a file that can be read: {error}")));
            }
            Err(error) => tracing::warn!(
                target: TARGET,
                "Failed to open weight file: {}: {error}. Will try again in {reload:?}", word.text
            ),
        }
        Ok(file)
    }

    /// Looks at the file from time to time, as long as somebody uses it.
    pub(super) fn follow(file: &Arc<Self>) {
        let (reload, file) = (file.reload, Arc::downgrade(file));
        if reload.is_zero() {
            return;
        }
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(reload).await;
                let Some(file) = file.upgrade() else { return };
                let text = tokio::fs::read_to_string(&file.path).await;
                let weights = text
                    .map_err(|error| error.to_string())
                    .and_then(|text| Weights::parse(&text));
                match weights {
                    Ok(weights) => file.set(weights),
                    Err(error) => {
                        tracing::error!(target: TARGET, "{}: {error}", file.path.display());
                    }
                }
            }
        });
    }

    /// What was in it last.
    pub(super) fn weights(&self) -> Arc<Weights> {
        Arc::clone(&self.weights.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, weights: Weights) {
        let mut current = self.weights.write().unwrap_or_else(PoisonError::into_inner);
        if **current != weights {
            *current = Arc::new(weights);
            tracing::info!(
                target: TARGET,
                "Successfully reloaded weight file {}", self.path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        for (text, message) in [
            ("192.0.2.1", "has no weight"),
            ("192.0.2.1 3", "no name before"),
            ("a.example\n192.0.2.1 0", "`0` is not a weight"),
            ("a.example\n192.0.2.1 256", "`256` is not a weight"),
            ("a.example\n192.0.2 1", "is not an address"),
            ("a.example b c", "is neither"),
        ] {
            let error = Weights::parse(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
