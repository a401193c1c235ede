//! Outcomes, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    outcome::Status,
    table::{Checked, worst},
};

/// One document. `docs/check.md` describes it; fields may come, none goes or changes.
pub(super) fn document(all: &[Checked]) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "status": worst(all),
        "checks": all,
    })
}

/// Groups, a mark and a sentence for each check, and what helps below it.
pub(super) fn text(all: &[Checked]) -> String {
    let mut text = String::new();
    let mut group = "";
    for checked in all {
        if checked.group != group {
            let separator = if group.is_empty() { "" } else { "\n" };
            group = checked.group;
            // Writing to a string does not fail.
            let _ = writeln!(text, "{separator}{group}\n{}", "-".repeat(group.len()));
        }
        let outcome = &checked.outcome;
        let mark = mark(outcome.status);
        let _ = writeln!(
            text,
            "{mark} {}: {}",
            checked.check,
            indented(&outcome.summary)
        );
        for (name, hint) in [
            ("means", &outcome.meaning),
            ("see  ", &outcome.see),
            ("fix  ", &outcome.fix),
        ] {
            if let Some(hint) = hint {
                let _ = writeln!(text, "    {name}  {}", indented(hint));
            }
        }
    }
    let count = |status| {
        let all = all.iter();
        all.filter(|checked| checked.outcome.status == status)
            .count()
    };
    let _ = writeln!(
        text,
        "\n{} ok, {} warnings, {} failures, {} skipped",
        count(Status::Ok),
        count(Status::Warning),
        count(Status::Failure),
        count(Status::Skipped)
    );
    text
}

const fn mark(status: Status) -> &'static str {
    match status {
        Status::Ok => "√",
        Status::Warning => "‼",
        Status::Failure => "×",
        Status::Skipped => "-",
    }
}

/// Further lines stand below the first.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n           ")
}

#[cfg(test)]
mod tests {
    use super::{
        super::outcome::{Hints, Outcome},
        *,
    };

    fn checked() -> Vec<Checked> {
        let hints = Hints {
            meaning: "what it means",
            see: "how to see it",
            fix: "what helps",
        };
        let of = |group, check, outcome| Checked {
            group,
            check,
            outcome,
        };
        vec![
            of("node", "kernel", Outcome::ok("Linux 6.18")),
            of("node", "btf", Outcome::warning("none", &hints)),
            of(
                "cluster",
                "api-server",
                Outcome::failure("no answer\ncause", &hints),
            ),
            of("cluster", "dns-service", Outcome::skipped("no API server")),
        ]
    }

    #[test]
    fn people_see_the_hints_below_what_is_wrong() {
        let expected = "\
node
----
√ kernel: Linux 6.18
‼ btf: none
    means  what it means
    see    how to see it
    fix    what helps

cluster
-------
× api-server: no answer
           cause
    means  what it means
    see    how to see it
    fix    what helps
- dns-service: no API server

1 ok, 1 warnings, 1 failures, 1 skipped
";
        assert_eq!(text(&checked()), expected);
    }

    #[test]
    fn programs_get_one_document() {
        let mut all = checked();
        let shown = document(&all);
        assert_eq!(shown["status"], "failure");
        assert_eq!(shown["checks"][2]["fix"], "what helps");
        assert_eq!(shown["checks"][0].get("fix"), None);
        assert_eq!(shown["checks"][3]["status"], "skipped");
        all.remove(2);
        assert_eq!(document(&all)["status"], "warning");
        all.remove(1);
        assert_eq!(document(&all)["status"], "ok");
    }
}
