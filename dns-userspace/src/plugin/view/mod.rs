//! `view`: which queries are the server block's at all.
//!
//! ```text
//! view NAME {
//!     expr EXPRESSION     several: all have to be true
//! }
//! ```
//!
//! Blocks may have one zone at one address if all but the last have a view. A query belongs to the first of them, in
//! the order of the file, whose expressions are true; if none is, to a block of a shorter zone.
//!
//! # Expressions
//!
//! A part of the language of `CoreDNS`, which is that of expr-lang:
//!
//! ```text
//! 'text'  "text"  `raw`   12   true   false   ['A', 'AAAA']
//! and &&   or ||   not !   ==  !=  <  <=  >  >=   COND ? A : B
//! x in [..]   x not in [..]   x in 1..10
//! s matches 'regex'   s contains t   s startsWith t   s endsWith t
//! +  -  *  /  %           numbers are whole; + also joins text
//!
//! type() name() class() proto() client_ip() port() server_ip() server_port()      text
//! id() opcode() size() bufsize()                                                  numbers
//! do()                                                                            true if DO is set
//! incidr(ip, network)   metadata(label)   len(x)   lower(s)   upper(s)   trim(s)
//! ```
//!
//! `name()` is in lower case, with the dot at the end. What does not fit together (`type() == 1`) is an error when the
//! file is read; what cannot be found out of a query (`10 / 0`) makes the expression false.

mod check;
mod eval;
mod lexer;
mod parser;

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::rr::Name;

use self::{
    check::{Type, type_of},
    eval::{Value, eval},
    parser::{Expr, parse},
};
use super::{Builder, Next, Outcome, Plugin, Request, Touch, args};
use crate::corefile::{Directive, Fault};

/// What chooses queries for a server block.
pub struct View {
    name: Arc<str>,
    exprs: Vec<Expr>,
    /// The server block's.
    zones: Vec<Name>,
}

impl View {
    /// For metrics.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the query is the block's.
    pub fn wants(&self, request: &Request) -> bool {
        let is_true = |expr| eval(expr, request) == Some(Value::Bool(true));
        self.exprs.iter().all(is_true)
    }
}

/// In the chain it only says what it touches.
struct Viewed(Arc<View>);

/// Reads `view`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let [name] = directive.exactly("NAME")?;
    let mut exprs = Vec::new();
    for property in directive.properties() {
        if property.name.text != "expr" {
            return Err(property.unknown_property("view", &["expr"]));
        }
        exprs.push(expr(property)?);
    }
    let view = Arc::new(View {
        name: name.text.as_str().into(),
        exprs,
        zones: builder.zones(&[])?,
    });
    builder.view = Some(Arc::clone(&view));
    // Ahead of all others: the kernel does not know whose a query is.
    builder.plugins.insert(0, Box::new(Viewed(view)));
    Ok(())
}

/// The words of the line with a space between them, as in `CoreDNS`.
fn expr(property: &Directive) -> Result<Expr, Fault> {
    let words: Vec<&str> = (property.args.iter())
        .map(|word| word.text.as_str())
        .collect();
    let wrong = |message: String| {
        Fault::new(
            property.span(),
            message,
            "an expression that is true or false, such as type() == 'A'",
        )
    };
    let expr = parse(&words.join(" ")).map_err(wrong)?;
    match type_of(&expr).map_err(wrong)? {
        Type::Bool => Ok(expr),
        other => Err(wrong(format!("the expression is {other}"))),
    }
}

#[async_trait]
impl Plugin for Viewed {
    fn name(&self) -> &'static str {
        "view"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        next.run(request).await
    }

    fn touches(&self) -> Vec<Touch> {
        self.0.zones.iter().cloned().map(Touch::Below).collect()
    }
}
