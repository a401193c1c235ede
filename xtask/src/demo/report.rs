//! What the demo prints: a table that grows row by row, and a bar chart.

use std::time::Duration;

use super::{
    ask::Reply,
    daemon::Counts,
    probe::Latency,
    questions::{By, Question},
};

const NAME: usize = 49;
const TYPE: usize = 6;
const OVER: usize = 13;
const ANSWER: usize = 34;
const BY: usize = 22;
const BAR: usize = 50;

/// One asked question.
pub struct Row<'a> {
    /// What was asked.
    pub question: &'a Question,
    /// What came back.
    pub reply: Reply,
    /// Who answered how often.
    pub counts: Counts,
    /// How long it takes; unknown for a resolver that asks several questions.
    pub latency: Option<Latency>,
}

impl Row<'_> {
    /// Whether the answer is the expected one.
    pub fn is_answer_right(&self) -> bool {
        self.reply.is(self.question.expected)
    }

    /// Whether the expected one has answered.
    pub fn is_path_right(&self) -> bool {
        match self.question.by {
            By::Kernel => self.counts.kernel > 0 && self.counts.socket == 0,
            By::Socket => self.counts.kernel == 0 && self.counts.socket > 0,
            By::Some => self.counts.kernel > 0,
            By::Either => self.counts.kernel + self.counts.socket > 0,
        }
    }

    /// Prints it. `hook` is how the kernel answers; none without it, and then any path is right.
    pub fn print(&self, hook: Option<&str>) {
        let by = answered_by(self.counts, hook);
        let median = self.latency.map_or_else(String::new, |l| micros(l.median));
        println!(
            "{} {} {} {} {} {median:>9}",
            cell(self.question.name, NAME),
            cell(self.question.rtype, TYPE),
            cell(self.question.over.text(), OVER),
            cell(&self.reply.text(), ANSWER),
            cell(&by, BY),
        );
        if !self.is_answer_right() {
            let (got, expected) = (&self.reply, self.question.expected);
            println!("  ^ WRONG ANSWER: expected {expected:?}, got {got:?}");
        }
        if hook.is_some() && !self.is_path_right() {
            println!("  ^ WRONG PATH: expected {:?}", self.question.by);
        }
    }
}

/// The head of the table.
pub fn print_head() {
    println!(
        "{} {} {} {} {} {:>9}",
        cell("query", NAME),
        cell("type", TYPE),
        cell("over", OVER),
        cell("answer", ANSWER),
        cell("answered by", BY),
        "median",
    );
    println!("{}", "─".repeat(NAME + TYPE + OVER + ANSWER + BY + 14));
}

fn answered_by(counts: Counts, hook: Option<&str>) -> String {
    let kernel = format!("kernel via {}", hook.unwrap_or("?"));
    match (counts.kernel, counts.socket) {
        (0, 0) => "nobody".to_owned(),
        (_, 0) => kernel,
        (0, _) => "socket".to_owned(),
        (by_kernel, by_socket) => format!("kernel {by_kernel}, socket {by_socket}"),
    }
}

/// Latencies beside each other, the longest bar for the slowest.
pub fn print_bars(bars: &[(String, Latency)]) {
    let slowest = bars.iter().map(|(_, latency)| latency.median).max();
    let slowest = slowest.unwrap_or_default();
    let width = bars.iter().map(|(label, _)| label.chars().count()).max();
    let width = width.unwrap_or_default();
    for (label, latency) in bars {
        println!(
            "  {} {:>9} {}  (99 %: {})",
            cell(label, width),
            micros(latency.median),
            bar(latency.median, slowest),
            micros(latency.p99),
        );
    }
}

fn bar(time: Duration, slowest: Duration) -> String {
    let share = time.as_nanos() * BAR as u128 / slowest.as_nanos().max(1);
    let length = usize::try_from(share).unwrap_or(BAR).clamp(1, BAR);
    "█".repeat(length)
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

/// `text` in exactly `width` columns.
fn cell(text: &str, width: usize) -> String {
    if text.chars().count() > width {
        let short: String = text.chars().take(width - 1).collect();
        format!("{short}…")
    } else {
        format!("{text:width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_their_width() {
        assert_eq!(cell("abc", 5), "abc  ");
        assert_eq!(cell("abcdef", 5), "abcd…");
    }

    #[test]
    fn bars_are_in_proportion() {
        let slowest = Duration::from_micros(100);
        assert_eq!(bar(slowest, slowest).chars().count(), BAR);
        assert_eq!(bar(slowest / 2, slowest).chars().count(), BAR / 2);
        assert_eq!(bar(Duration::ZERO, slowest).chars().count(), 1);
    }

    #[test]
    fn says_who_answered() {
        let by = |kernel, socket| answered_by(Counts { kernel, socket }, Some("tc"));
        assert_eq!(by(3, 0), "kernel via tc");
        assert_eq!(by(0, 1), "socket");
        assert_eq!(by(2, 2), "kernel 2, socket 2");
        assert_eq!(by(0, 0), "nobody");
    }
}
