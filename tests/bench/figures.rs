//! Figures: measured several times, printed as a table, written as JSON.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

/// What is wanted of a figure.
#[derive(Clone, Copy)]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Just for information.
    None,
}

/// A measured figure.
struct Figure {
    name: String,
    what: String,
    unit: &'static str,
    target: Target,
    runs: Vec<f64>,
    /// Why there are no runs.
    why: Option<String>,
}

/// All figures of a run, in order.
#[derive(Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Adds a figure of one or more runs.
    pub fn add(
        &mut self,
        name: &str,
        what: &str,
        unit: &'static str,
        target: Target,
        runs: Vec<f64>,
    ) {
        self.0.push(Figure {
            name: name.to_owned(),
            what: what.to_owned(),
            unit,
            target,
            runs,
            why: None,
        });
    }

    /// Adds a figure that cannot be measured here.
    pub fn skip(&mut self, name: &str, what: &str, why: &str) {
        println!("SKIPPED {name}: {why}");
        self.0.push(Figure {
            name: name.to_owned(),
            what: what.to_owned(),
            unit: "",
            target: Target::None,
            runs: Vec::new(),
            why: Some(why.to_owned()),
        });
    }

    /// The table for people.
    pub fn print(&self) {
        println!(
            "\n{:<22} {:>10} {:>10} {:>10}  {:<6} {:>8} {:>4}  what",
            "figure", "median", "min", "max", "unit", "target", "runs"
        );
        for figure in &self.0 {
            if let Some(why) = &figure.why {
                println!("{:<22} SKIPPED: {why}  ({})", figure.name, figure.what);
                continue;
            }
            let (low, high) = figure.range();
            println!(
                "{:<22} {:>10} {:>10} {:>10}  {:<6} {:>8} {:>4}  {}{}",
                figure.name,
                show(figure.median()),
                show(low),
                show(high),
                figure.unit,
                figure.target.show(),
                figure.runs.len(),
                figure.what,
                if figure.target.is_met(figure.median()) {
                    ""
                } else {
                    "  ** target missed **"
                },
            );
        }
    }

    /// The figures with the machine that they are of.
    pub fn write(&self, machine: &Value, file: &Path) -> anyhow::Result<()> {
        let figures: serde_json::Map<String, Value> = (self.0.iter())
            .map(|figure| {
                if let Some(why) = &figure.why {
                    return (figure.name.clone(), json!({"value": null, "why": why}));
                }
                let (min, max) = figure.range();
                let value = json!({
                    "value": figure.median(),
                    "min": min,
                    "max": max,
                    "unit": figure.unit,
                    "target": figure.target.value(),
                    "runs": figure.runs.len(),
                });
                (figure.name.clone(), value)
            })
            .collect();
        let document = json!({
            "machine": machine["machine"],
            "versions": machine["versions"],
            "figures": figures,
        });
        fs::write(file, serde_json::to_string_pretty(&document)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Figure {
    fn median(&self) -> f64 {
        median(&self.runs)
    }

    fn range(&self) -> (f64, f64) {
        let min = self.runs.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self.runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (min, max)
    }
}

/// The middle value; not a number if there is none.
pub fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Target {
    fn value(self) -> Option<f64> {
        match self {
            Target::AtLeast(value) | Target::AtMost(value) => Some(value),
            Target::None => None,
        }
    }

    fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtLeast(target) => value >= target,
            Target::AtMost(target) => value <= target,
            Target::None => true,
        }
    }

    fn show(self) -> String {
        match self {
            Target::AtLeast(value) => format!(">= {value}"),
            Target::AtMost(value) => format!("<= {value}"),
            Target::None => String::new(),
        }
    }
}

fn show(value: f64) -> String {
    if value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}
