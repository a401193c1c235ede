//! `root`: where relative paths of the server block begin.
//!
//! ```text
//! root PATH
//! ```

use super::{Builder, args};
use crate::corefile::{Directive, Fault};

/// Reads `root`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let [path] = directive.exactly("a directory")?;
    directive.no_block()?;
    builder.root = path.text.clone().into();
    match builder.root.try_exists() {
        Err(error) => Err(path.not(&format!("a directory that can be read: {error}"))),
        // It may come.
        Ok(false) => {
            tracing::warn!(target: "plugin/root", "Root path does not exist: {}", path.text);
            Ok(())
        }
        Ok(true) => Ok(()),
    }
}
