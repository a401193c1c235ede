//! From words to server blocks and their directives.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    error::{CorefileError, Fault},
    lexer::Word,
    source::{Sources, Span},
    tokens::{Tokens, Variables},
};

/// Blocks within blocks that are followed; no directive has more than two.
const DEPTH_MAX: usize = 16;

/// A configuration, taken apart.
#[derive(Clone, Debug)]
pub struct Corefile {
    /// In the order of the file.
    pub blocks: Vec<ServerBlock>,
    /// Every file that belongs to it.
    pub sources: Sources,
    /// What is not wrong, but may not be meant.
    pub warnings: Vec<String>,
    /// Imported patterns that no file matches here.
    pub unmatched: Vec<PathBuf>,
}

/// `KEY… { DIRECTIVES }`
#[derive(Clone, Debug)]
pub struct ServerBlock {
    /// Zones with ports and transports; see [`super::key`].
    pub keys: Vec<Word>,
    /// In the order of the file, which is not the order of the plugins.
    pub directives: Vec<Directive>,
}

/// `NAME ARGS… { PROPERTIES }`, and a property of it alike.
#[derive(Clone, Debug)]
pub struct Directive {
    /// The first word.
    pub name: Word,
    /// The words behind it on its line.
    pub args: Vec<Word>,
    /// The lines of its block; `None` if there are no braces.
    pub block: Option<Vec<Directive>>,
}

impl Directive {
    /// From the name to the last argument.
    pub fn span(&self) -> Span {
        let last = self.args.last().unwrap_or(&self.name);
        self.name.span.to(last.span)
    }

    /// The lines of the block, if there is one.
    pub fn properties(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

impl Corefile {
    /// Reads a file and what it imports, with the environment of this process.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, a file that cannot be read included.
    pub fn read(path: &Path) -> Result<Self, CorefileError> {
        let text = fs::read_to_string(path).map_err(|error| {
            let mut sources = Sources::default();
            sources.add(path, String::new());
            let span = Span {
                file: 0,
                start: 0,
                end: 0,
            };
            Fault::new(span, format!("cannot read it: {error}"), "a Corefile").within(&sources)
        })?;
        Self::parse(path, text, &|name| std::env::var(name).ok())
    }

    /// Reads a text as if it stood in `path`, which imports are relative to.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn parse(
        path: &Path,
        text: String,
        variables: Variables<'_>,
    ) -> Result<Self, CorefileError> {
        let (mut tokens, lexed) = Tokens::new(path, text, variables);
        let blocks = lexed.and_then(|()| server_blocks(&mut tokens));
        match blocks {
            Ok(blocks) => Ok(Corefile {
                blocks,
                sources: tokens.sources,
                warnings: tokens.warnings,
                unmatched: tokens.unmatched,
            }),
            Err(fault) => Err(fault.within(&tokens.sources)),
        }
    }
}

fn server_blocks(tokens: &mut Tokens<'_>) -> Result<Vec<ServerBlock>, Fault> {
    let mut blocks = Vec::new();
    while tokens.peek().is_some() {
        let keys = keys(tokens)?;
        let Some(first) = keys.first() else {
            // Nothing but imports, or an empty word.
            if let Some(brace) = tokens.peek().filter(|word| word.text == "{") {
                return Err(Fault::new(
                    brace.span,
                    "a server block without a zone",
                    "a zone before it, such as `.:53`",
                ));
            }
            continue;
        };
        if let Some(name) = snippet_name(&keys) {
            let body = snippet(tokens, first)?;
            tokens.define(first, name, body)?;
            continue;
        }
        let directives = match tokens.peek() {
            Some(brace) if brace.text == "{" => {
                let open = brace.span;
                tokens.next_raw();
                lines(tokens, Some(open), 0)?
            }
            // A configuration of one server block needs no braces.
            _ => lines(tokens, None, 0)?,
        };
        blocks.push(ServerBlock { keys, directives });
    }
    Ok(blocks)
}

/// The keys of a server block: on one line, or on more behind commas.
fn keys(tokens: &mut Tokens<'_>) -> Result<Vec<Word>, Fault> {
    let mut keys = Vec::new();
    let mut comma: Option<Span> = None;
    while let Some(word) = tokens.peek() {
        let is_next_line = word.begins_line && !keys.is_empty() && comma.is_none();
        if word.text == "{" || is_next_line {
            break;
        }
        if word.text == "}" {
            return Err(Fault::new(
                word.span,
                "this `}` closes nothing",
                "a server block, such as `.:53 {`",
            ));
        }
        let is_import = word.text == "import" && word.begins_line;
        let Some(mut word) = tokens.next_word() else {
            break;
        };
        if is_import {
            tokens.import(&word)?;
            continue;
        }
        comma = None;
        if word.text.ends_with(',') {
            word.text.pop();
            comma = Some(word.span);
        }
        if !word.text.is_empty() {
            keys.push(word);
        }
    }
    match comma {
        Some(span) => Err(Fault::new(
            span,
            "nothing follows this comma",
            "another zone, or no comma",
        )),
        None => Ok(keys),
    }
}

fn snippet_name(keys: &[Word]) -> Option<&str> {
    match keys {
        [key] => key.text.strip_prefix('(')?.strip_suffix(')'),
        _ => None,
    }
}

/// The words between the braces of a snippet, as they stand there.
fn snippet(tokens: &mut Tokens<'_>, key: &Word) -> Result<Vec<Word>, Fault> {
    let open = match tokens.next_raw() {
        Some(word) if word.text == "{" => word.span,
        other => {
            return Err(Fault::new(
                other.map_or(key.span, |word| word.span),
                format!("the snippet `{}` has no body", key.text),
                "`{`",
            ));
        }
    };
    let mut depth = 1;
    let mut body = Vec::new();
    while let Some(word) = tokens.next_raw() {
        match word.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(body);
        }
        body.push(word);
    }
    Err(never_closed(open))
}

/// Lines up to the closing brace, or to the end where no brace was opened.
fn lines(
    tokens: &mut Tokens<'_>,
    open: Option<Span>,
    depth: usize,
) -> Result<Vec<Directive>, Fault> {
    let mut lines = Vec::new();
    loop {
        let is_close = tokens.peek().map(|word| word.text == "}");
        match (is_close, open) {
            (None, None) => return Ok(lines),
            (None, Some(open)) => return Err(never_closed(open)),
            (Some(true), Some(_)) => {
                tokens.next_raw();
                return Ok(lines);
            }
            (Some(_), _) => {}
        }
        let Some(name) = tokens.next_word() else {
            continue;
        };
        match name.text.as_str() {
            "import" => tokens.import(&name)?,
            "}" => {
                return Err(Fault::new(
                    name.span,
                    "this `}` closes nothing",
                    "a directive",
                ));
            }
            "{" => {
                return Err(Fault::new(
                    name.span,
                    "a block without a name",
                    "a name before the `{`",
                ));
            }
            _ => lines.push(line(tokens, name, depth)?),
        }
    }
}

/// The rest of a line whose first word is `name`, and its block.
fn line(tokens: &mut Tokens<'_>, name: Word, depth: usize) -> Result<Directive, Fault> {
    let mut args = Vec::new();
    loop {
        match tokens.peek() {
            Some(word) if word.text == "{" => {
                let open = word.span;
                if depth == DEPTH_MAX {
                    return Err(Fault::new(
                        open,
                        format!("blocks within blocks, {DEPTH_MAX} deep"),
                        "fewer braces",
                    ));
                }
                tokens.next_raw();
                let block = lines(tokens, Some(open), depth + 1)?;
                if let Some(more) = tokens.peek().filter(|word| !word.begins_line) {
                    return Err(Fault::new(
                        more.span,
                        "something follows the `}` on its line",
                        "the end of the line",
                    ));
                }
                return Ok(Directive {
                    name,
                    args,
                    block: Some(block),
                });
            }
            Some(word) if word.text == "}" && !word.begins_line => {
                return Err(Fault::new(
                    word.span,
                    "this `}` is taken for an argument by CoreDNS",
                    "the `}` on a line of its own",
                ));
            }
            Some(word) if !word.begins_line => args.extend(tokens.next_word()),
            _ => {
                return Ok(Directive {
                    name,
                    args,
                    block: None,
                });
            }
        }
    }
}

fn never_closed(open: Span) -> Fault {
    Fault::new(open, "this `{` is never closed", "a `}` for it")
}
