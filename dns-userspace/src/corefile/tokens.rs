//! Words in the order in which they count: what is imported stands where the import stood.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
};

use super::{
    error::Fault,
    lexer::{self, Word},
    source::Sources,
};

/// Imports that one configuration may have. Who needs more imports in a circle.
const IMPORTS_MAX: u32 = 1000;
/// Words that one configuration may have, once everything is imported.
const WORDS_MAX: usize = 1_000_000;

/// What an environment variable is replaced by; nothing if it is not set.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The words that are still to be read.
pub struct Tokens<'a> {
    words: VecDeque<Word>,
    /// Every file that was read so far.
    pub sources: Sources,
    snippets: BTreeMap<String, Vec<Word>>,
    variables: Variables<'a>,
    imports: u32,
    /// What is not wrong, but may not be meant.
    pub warnings: Vec<String>,
    /// Patterns that no file matches.
    pub unmatched: Vec<PathBuf>,
}

impl<'a> Tokens<'a> {
    /// The words of a text that stands in `path`.
    pub fn new(path: &Path, text: String, variables: Variables<'a>) -> (Self, Result<(), Fault>) {
        let mut tokens = Tokens {
            words: VecDeque::new(),
            sources: Sources::default(),
            snippets: BTreeMap::new(),
            variables,
            imports: 0,
            warnings: Vec::new(),
            unmatched: Vec::new(),
        };
        let words = lexer::words(0, &text);
        tokens.sources.add(path, text);
        let result = words.map(|words| tokens.words = words.into());
        (tokens, result)
    }

    /// The next word as it stands there.
    pub fn peek(&self) -> Option<&Word> {
        self.words.front()
    }

    /// The next word as it stands there: for braces, which variables cannot be.
    pub fn next_raw(&mut self) -> Option<Word> {
        self.words.pop_front()
    }

    /// The next word, its variables replaced.
    pub fn next_word(&mut self) -> Option<Word> {
        let mut word = self.words.pop_front()?;
        word.text = replace(&word.text, self.variables);
        Some(word)
    }

    /// Keeps the words of a snippet; `name` is its key, without parentheses.
    ///
    /// # Errors
    ///
    /// There is one of that name.
    pub fn define(&mut self, key: &Word, name: &str, mut body: Vec<Word>) -> Result<(), Fault> {
        if let Some(first) = body.first_mut() {
            first.begins_line = true;
        }
        if self.snippets.insert(name.to_owned(), body).is_some() {
            return Err(Fault::new(
                key.span,
                format!("there is a snippet `{name}` already"),
                "another name",
            ));
        }
        Ok(())
    }

    /// Puts what an import names in front of the words to come; the word `import` has been read.
    ///
    /// # Errors
    ///
    /// Not exactly one argument, no such file, a circle.
    pub fn import(&mut self, import: &Word) -> Result<(), Fault> {
        let is_argument = |word: Option<&Word>| word.is_some_and(|word| !word.begins_line);
        if !is_argument(self.peek()) {
            return Err(Fault::new(
                import.span,
                "`import` of what?",
                "a snippet's name, a file or a pattern such as `custom/*.override`",
            ));
        }
        let Some(what) = self.next_word() else {
            return Ok(());
        };
        if let Some(more) = self.peek().filter(|word| !word.begins_line) {
            return Err(Fault::new(
                more.span,
                "`import` takes one argument",
                "the end of the line",
            ));
        }
        self.imports += 1;
        if self.imports > IMPORTS_MAX {
            return Err(Fault::new(
                what.span,
                format!("more than {IMPORTS_MAX} imports"),
                "a snippet or file that does not import itself",
            ));
        }
        let words = match self.snippets.get(&what.text) {
            Some(body) => body.clone(),
            None => self.files(&what)?,
        };
        if self.words.len() + words.len() > WORDS_MAX {
            return Err(Fault::new(
                what.span,
                format!("more than {WORDS_MAX} words, with this import"),
                "a snippet or file that does not import itself",
            ));
        }
        for word in words.into_iter().rev() {
            self.words.push_front(word);
        }
        Ok(())
    }

    /// The words of the files that a path or pattern names.
    fn files(&mut self, what: &Word) -> Result<Vec<Word>, Fault> {
        let mut words = Vec::new();
        for path in self.matching(what)? {
            let text = fs::read_to_string(&path).map_err(|error| {
                Fault::new(
                    what.span,
                    format!("cannot read {}: {error}", path.display()),
                    "a file that can be read",
                )
            })?;
            let file = self.sources.add(&path, text.clone());
            words.append(&mut lexer::words(file, &text)?);
        }
        Ok(words)
    }

    fn matching(&mut self, what: &Word) -> Result<Vec<PathBuf>, Fault> {
        let pattern = &what.text;
        if pattern.is_empty() {
            return Err(Fault::new(
                what.span,
                "`import` of nothing",
                "a snippet's name or a file",
            ));
        }
        let of_file = self.sources.get(what.span.file);
        let directory = of_file.and_then(|source| Path::new(&source.name).parent());
        let path = directory.map_or_else(|| PathBuf::from(pattern), |at| at.join(pattern));
        if !pattern.contains(['*', '?', '[']) {
            if path.is_file() {
                return Ok(vec![path]);
            }
            let known: Vec<&str> = self.snippets.keys().map(String::as_str).collect();
            let fault = Fault::new(
                what.span,
                format!("there is no file {}", path.display()),
                "a file, or a snippet that is defined above",
            );
            return Err(if known.is_empty() {
                fault
            } else {
                fault.help(format!("snippets so far: {}", known.join(", ")))
            });
        }
        let invalid = |message: String| {
            Fault::new(
                what.span,
                message,
                "a pattern with one `*` or `?`, such as `custom/*.override`",
            )
        };
        if pattern.matches('*').count() > 1 || pattern.matches('?').count() > 1 {
            return Err(invalid("a pattern with several wildcards".to_owned()));
        }
        let paths = glob::glob(&path.to_string_lossy())
            .map_err(|error| invalid(format!("not a pattern: {error}")))?;
        let mut paths: Vec<PathBuf> = paths
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(error.to_string()))?;
        paths.sort();
        if paths.is_empty() {
            let place = self.sources.place(what.span);
            self.warnings.push(format!(
                "{place}: no file matches the import of {}",
                path.display()
            ));
            self.unmatched.push(path);
        }
        Ok(paths)
    }
}

/// `{$NAME}` and `{%NAME%}`, replaced.
fn replace(text: &str, variables: Variables<'_>) -> String {
    let mut text = text.to_owned();
    for (open, close) in [("{%", "%}"), ("{$", "}")] {
        let mut from = 0;
        while let Some(start) = text[from..].find(open).map(|at| from + at) {
            let name_at = start + open.len();
            let Some(name_len) = text[name_at..].find(close) else {
                break;
            };
            if name_len == 0 {
                from = name_at;
                continue;
            }
            let value = variables(&text[name_at..name_at + name_len]).unwrap_or_default();
            text.replace_range(start..name_at + name_len + close.len(), &value);
            // What a variable holds is not looked at again.
            from = start + value.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn variables_are_replaced_and_nothing_else() {
        let variables = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "B" => Some("{$A}".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("a", "a"),
            ("{$A}", "1"),
            ("x{$A}y{%A%}z", "x1y1z"),
            ("{$NONE}", ""),
            ("{$B}", "{$A}"),
            ("{$}{$A}", "{$}1"),
            ("{$A", "{$A"),
            ("{{ .Name }}", "{{ .Name }}"),
        ] {
            assert_eq!(replace(text, &variables), expected, "{text}");
        }
    }
}
