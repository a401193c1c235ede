//! The configuration language of `CoreDNS`, so that a cluster's `coredns` `ConfigMap` works as it is.
//!
//! ```text
//! (log_errors) {                      a snippet: it is put wherever it is imported
//!     log . {
//!         class error                 a property: a line of a directive's block
//!     }
//! }
//!
//! .:53, example.org:1053 {            a server block and its keys: zones, ports, transports
//!     import log_errors
//!     import custom/*.override        files; that there is none is fine
//!     forward . {$UPSTREAM} {         a directive, its arguments and its block
//!         max_concurrent 1000
//!     }
//! }
//! ```
//!
//! | module | concept |
//! |---|---|
//! | [`source`] | files, and places in them |
//! | [`lexer`] | words |
//! | [`tokens`] | words in the order in which they count: imports and snippets put in |
//! | [`parser`] | server blocks and directives |
//! | [`key`] | what a server block's key means: zones, port, transport |
//! | [`error`] | what is wrong, and where |
//!
//! What a directive means is its plugin's business. Where this is stricter than `CoreDNS`, `CoreDNS` would
//! have done something that nobody can have meant: a quote that is never closed, words behind a closing
//! brace, a brace without a partner.

mod digest;

pub mod error;
pub mod key;
pub mod lexer;
pub mod parser;
pub mod source;
pub mod tokens;

#[cfg(test)]
mod tests;

pub use error::{CorefileError, Fault};
pub use key::{Key, Transport};
pub use lexer::Word;
pub use parser::{Corefile, Directive, ServerBlock};
pub use source::{Place, Sources, Span};
