//! What is wrong with a configuration, said like a compiler says it.

use std::fmt;

use ariadne::{Config, Label, Report, ReportKind};

use super::source::{Place, Sources, Span};

/// The first thing that is wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The words that are wrong.
    pub span: Span,
    /// What is wrong with them.
    pub message: String,
    /// What was expected there.
    pub expected: String,
    /// What else may help.
    pub help: Option<String>,
}

impl Fault {
    /// `message` is about the words at `span`, where `expected` would be right.
    pub fn new(span: Span, message: impl Into<String>, expected: impl Into<String>) -> Self {
        Fault {
            span,
            message: message.into(),
            expected: expected.into(),
            help: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With the texts that it points into, so that it can be shown.
    pub fn within(self, sources: &Sources) -> CorefileError {
        CorefileError(Box::new(Located {
            place: sources.place(self.span),
            sources: sources.clone(),
            fault: self,
        }))
    }
}

/// A configuration that cannot be used. [`fmt::Display`] is one line, for logs; [`Self::report`] shows
/// the place.
#[derive(Clone, Debug)]
pub struct CorefileError(Box<Located>);

#[derive(Clone, Debug)]
struct Located {
    fault: Fault,
    place: Place,
    sources: Sources,
}

impl CorefileError {
    /// What is wrong.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// Where.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Several lines: the message, the line of the file with the words marked, and the hint.
    pub fn report(&self, color: bool) -> String {
        let Fault {
            span,
            message,
            expected,
            help,
        } = &self.0.fault;
        let id = |file: usize| {
            self.0
                .sources
                .get(file)
                .map_or_else(String::new, |source| source.name.clone())
        };
        let at = (id(span.file), self.characters(*span));
        let config = Config::default().with_color(color);
        let mut report = Report::build(ReportKind::Error, at.clone())
            .with_config(config)
            .with_message(message)
            .with_label(Label::new(at).with_message(format!("expected {expected}")));
        if let Some(help) = help {
            report = report.with_help(help);
        }
        let texts = self
            .0
            .sources
            .iter()
            .map(|source| (source.name.clone(), source.text.clone()));
        let mut out = Vec::new();
        match report.finish().write(ariadne::sources(texts), &mut out) {
            Ok(()) => String::from_utf8_lossy(&out).into_owned(),
            // Writing to memory does not fail; the line says it all.
            Err(_) => self.to_string(),
        }
    }

    /// The place in characters, which ariadne counts in.
    fn characters(&self, span: Span) -> std::ops::Range<usize> {
        let text = self
            .0
            .sources
            .get(span.file)
            .map_or("", |source| source.text.as_str());
        let count = |end: usize| text.get(..end).map_or(0, |text| text.chars().count());
        count(span.start)..count(span.end)
    }
}

impl fmt::Display for CorefileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault {
            message,
            expected,
            help,
            ..
        } = &self.0.fault;
        write!(out, "{}: {message}; expected {expected}", self.0.place)?;
        match help {
            Some(help) => write!(out, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CorefileError {}
