//! The texts that a configuration is read from, and places in them.

use std::{fmt, ops::Range, path::Path, sync::Arc};

/// A place in one of the files: bytes from `start` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which of [`Sources`].
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// From the beginning of this place to the end of another; in two files it is this place alone.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        if self.file == other.file && other.end >= self.start {
            Span {
                end: other.end,
                ..self
            }
        } else {
            self
        }
    }

    /// Its bytes.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A file, as it was when it was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path, as errors name it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// All files of a configuration: the Corefile first, then what it imports. Cheap to clone, so that an
/// error can keep what it points into.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Vec<Source>>);

impl Sources {
    /// Adds a file, and returns its number.
    pub fn add(&mut self, path: &Path, text: String) -> usize {
        let files = Arc::make_mut(&mut self.0);
        files.push(Source {
            name: path.display().to_string(),
            text,
        });
        files.len() - 1
    }

    /// A file.
    pub fn get(&self, file: usize) -> Option<&Source> {
        self.0.get(file)
    }

    /// All files, in the order in which they were read.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// Where a place begins, for people.
    pub fn place(&self, span: Span) -> Place {
        let (name, text) = self.get(span.file).map_or(("", ""), |source| {
            (
                source.name.as_str(),
                source.text.get(..span.start).unwrap_or(""),
            )
        });
        let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: name.to_owned(),
            line: text.matches('\n').count() + 1,
            column: text[line_start..].chars().count() + 1,
        }
    }
}

/// File, line and column, both from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's path.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file, self.line, self.column)
    }
}
