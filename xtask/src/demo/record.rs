//! One record as the kernel holds it, through bpftool: the maps carry BTF, so its fields have names.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{signals, workspace};

/// The map of records.
const CELLS: &str = "CELLS";

/// Prints the record of `name`, from the maps of the programs with these numbers.
pub fn print(program_ids: &[u64], name: &str) -> Result<()> {
    let map = find_map(program_ids)?;
    signals::check()?;
    let dump = bpftool(&["map", "dump", "id", &map.to_string()].map(str::to_owned))?;
    let cells = dump.as_array().context("bpftool map dump: not a list")?;
    for entry in cells {
        let formatted = &entry["formatted"];
        let cell = &formatted["value"];
        if cell.is_null() {
            bail!("bpftool shows no named fields: the object was built without BTF");
        }
        if owner_name(cell).as_deref() != Some(name) {
            continue;
        }
        println!("$ bpftool map dump id {map}");
        println!("cell {} of {}:", formatted["key"], cells.len());
        print!("{}", fields(cell));
        println!("  (data begins with the owner name: {name})");
        return Ok(());
    }
    bail!(
        "none of the {} cells begins the record of {name}",
        cells.len()
    )
}

fn find_map(program_ids: &[u64]) -> Result<u64> {
    for program in program_ids {
        let shown = bpftool(&["prog", "show", "id", &program.to_string()].map(str::to_owned))?;
        let maps = shown["map_ids"].as_array().cloned().unwrap_or_default();
        for id in maps.iter().filter_map(Value::as_u64) {
            let map = bpftool(&["map", "show", "id", &id.to_string()].map(str::to_owned))?;
            if map["name"] == CELLS {
                return Ok(id);
            }
        }
    }
    bail!("no map {CELLS} belongs to the programs {program_ids:?}")
}

/// Whether a program with this number is loaded.
pub fn is_loaded(program: u64) -> bool {
    bpftool(&["prog", "show", "id", &program.to_string()].map(str::to_owned)).is_ok()
}

fn bpftool(arguments: &[String]) -> Result<Value> {
    let mut command: Command = workspace::command("bpftool");
    let output = command
        .arg("-j")
        .args(arguments)
        .process_group(0)
        .output()
        .context("cannot start bpftool: run `cargo xtask setup`")?;
    if !output.status.success() {
        bail!(
            "bpftool {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    serde_json::from_slice(&output.stdout).context("bpftool: not JSON")
}

/// The owner name, if this cell begins a record.
fn owner_name(cell: &Value) -> Option<String> {
    let length = usize::try_from(cell["name_len"].as_u64()?).ok()?;
    let data: Vec<u8> = cell["data"]
        .as_array()?
        .iter()
        .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
        .collect::<Option<_>>()?;
    let mut rest = data.get(..length)?;
    let mut labels = Vec::new();
    while let Some((&label, after)) = rest.split_first() {
        let label = usize::from(label);
        if label == 0 {
            break;
        }
        labels.push(std::str::from_utf8(after.get(..label)?).ok()?);
        rest = &after[label..];
    }
    (!labels.is_empty()).then(|| labels.join("."))
}

/// The fields, one a line; bytes of an array side by side.
fn fields(cell: &Value) -> String {
    let Some(fields) = cell.as_object() else {
        return format!("  {cell}\n");
    };
    let mut lines = Vec::new();
    for (name, value) in fields {
        let value = match value.as_array() {
            Some(bytes) => bytes
                .chunks(16)
                .map(|line| {
                    let line: Vec<String> = line
                        .iter()
                        .map(|byte| format!("{:02x}", byte.as_u64().unwrap_or(0)))
                        .collect();
                    line.join(" ")
                })
                .collect::<Vec<_>>()
                .join("\n                "),
            None => value.to_string(),
        };
        lines.push(format!("  {name:>12}: {value}\n"));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_the_name_in_a_cell() {
        let cell = json!({"name_len": 6, "ttl": 5, "data": [1, 97, 2, 98, 99, 0, 0, 0]});
        assert_eq!(owner_name(&cell).as_deref(), Some("a.bc"));
        let empty = json!({"name_len": 0, "data": [0, 0]});
        assert_eq!(owner_name(&empty), None);
        let middle_of_another = json!({"name_len": 200, "data": [1, 2]});
        assert_eq!(owner_name(&middle_of_another), None);
    }

    #[test]
    fn prints_fields_by_name() {
        let text = fields(&json!({"ttl": 5, "data": [10, 255]}));
        assert!(text.contains("ttl: 5\n"), "{text}");
        assert!(text.contains("data: 0a ff\n"), "{text}");
    }
}
