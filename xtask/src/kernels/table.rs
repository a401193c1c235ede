//! What was found on each kernel.

use std::fmt::Write as _;

/// Kernels, and what was found on each.
#[derive(Default)]
pub struct Table {
    kernels: Vec<Vec<(String, String)>>,
}

impl Table {
    /// What is read from now on is about another kernel.
    pub fn kernel(&mut self) {
        self.kernels.push(Vec::new());
    }

    /// Takes a line `FOUND what: value`.
    pub fn read(&mut self, line: &str) {
        // A dot for each test that has passed may come before it.
        let found = line.split_once("FOUND ");
        let found = found.and_then(|(_, found)| found.trim_end().split_once(": "));
        if let (Some((what, value)), Some(kernel)) = (found, self.kernels.last_mut()) {
            kernel.push((what.to_owned(), value.to_owned()));
        }
    }

    /// As Markdown: a row for what was found, a column for each kernel.
    pub fn text(&self) -> String {
        let mut rows: Vec<&str> = Vec::new();
        for (what, _) in self.kernels.iter().flatten() {
            if !rows.contains(&what.as_str()) {
                rows.push(what);
            }
        }
        // Tests end in any order.
        rows.sort_by_key(|&row| (row != "Linux", row));
        let mut text = String::new();
        for (number, row) in rows.iter().enumerate() {
            write!(text, "| {row} |").expect("a string takes everything");
            for kernel in &self.kernels {
                let value = kernel.iter().find(|(what, _)| what == row);
                let value = value.map_or("–", |(_, value)| value);
                write!(text, " {value} |").expect("a string takes everything");
            }
            text.push('\n');
            if number == 0 {
                let line = "---|".repeat(self.kernels.len() + 1);
                writeln!(text, "|{line}").expect("a string takes everything");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns() {
        let mut table = Table::default();
        for lines in [
            ["FOUND Linux: 6.1.0", "FOUND a: 1", "other"],
            ["FOUND Linux: 6.12.0\r", ".FOUND b: x: y", ""],
        ] {
            table.kernel();
            for line in lines {
                table.read(line);
            }
        }
        let expected =
            "| Linux | 6.1.0 | 6.12.0 |\n|---|---|---|\n| a | 1 | – |\n| b | – | x: y |\n";
        assert_eq!(table.text(), expected);
    }
}
