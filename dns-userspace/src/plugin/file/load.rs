//! From a zone file to its records.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use domain::{
    base::{self, iana::Class},
    zonefile::inplace::{Entry, Zonefile},
};
use hickory_proto::rr::{Name, Record};
use tokio_util::bytes::Bytes;

use super::seconds::plain;
use crate::plugin::text;

/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Files in files.
const INCLUDES_MAX: u8 = 8;

type Origin = base::Name<Bytes>;

/// The records of a file whose names are relative to `origin`.
///
/// # Errors
///
/// What is wrong with it, and where.
pub(super) fn load(path: &Path, origin: &Name) -> Result<Vec<Record>, String> {
    let origin = Origin::from_str(&text::show(origin)).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    read(path, origin, INCLUDES_MAX, &mut records)?;
    Ok(records)
}

fn read(path: &Path, origin: Origin, depth: u8, records: &mut Vec<Record>) -> Result<(), String> {
    let place = |error: String| format!("{}: {error}", path.display());
    let meta = fs::metadata(path).map_err(|error| place(error.to_string()))?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(place(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    let content = fs::read_to_string(path).map_err(|error| place(error.to_string()))?;
    let content = plain(&content, &origin.fmt_with_dot().to_string());
    let mut file = Zonefile::from(format!("{content}\n").as_str());
    file.set_origin(origin);
    file.set_default_class(Class::IN);
    while let Some(entry) = file
        .next_entry()
        .map_err(|error| place(error.to_string()))?
    {
        match entry {
            Entry::Record(record) => records.push(text::decoded(&record).map_err(place)?),
            Entry::Include { .. } if depth == 0 => {
                return Err(place(format!(
                    "more than {INCLUDES_MAX} files in one another"
                )));
            }
            Entry::Include {
                path: include,
                origin,
            } => {
                let origin = match origin {
                    Some(origin) => origin,
                    None => file.origin().map_err(|error| place(error.to_string()))?,
                };
                let directory = path.parent().map(PathBuf::from).unwrap_or_default();
                read(
                    &directory.join(include.as_str()),
                    origin,
                    depth - 1,
                    records,
                )?;
            }
        }
    }
    Ok(())
}
