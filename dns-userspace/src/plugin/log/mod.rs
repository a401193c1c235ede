//! `log`: a line for each query.
//!
//! ```text
//! log [NAMES...] [FORMAT] {       all names unless given; FORMAT needs NAMES before it
//!     class CLASSES...            success, denial, error, all; all unless given
//! }
//! ```
//!
//! The first rule whose names a query lies in decides. [`format`] has the placeholders. `{rsize}` is the
//! length of the message that is sent; `CoreDNS` says what it was before it was made to fit, with all names written out.

mod format;

use async_trait::async_trait;
use hickory_proto::rr::Name;

use self::format::Format;
use super::{Builder, Next, Outcome, Plugin, Request, Sent, Touch, sent::ReplyClass};
use crate::{
    corefile::{Directive, Fault},
    logging,
};

struct Log {
    rules: Vec<Rule>,
}

struct Rule {
    names: Vec<Name>,
    format: Format,
    /// None are all.
    classes: Vec<ReplyClass>,
}

/// Reads every `log` of a server block.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let rules = directives.iter().map(|directive| rule(builder, directive));
    let rules = rules.collect::<Result<_, _>>()?;
    builder.plugins.push(Box::new(Log { rules }));
    Ok(())
}

fn rule(builder: &Builder<'_>, directive: &Directive) -> Result<Rule, Fault> {
    let (names, format) = match directive.args.split_last() {
        Some((last, [])) if last.text.contains('{') => {
            return Err(last.not("names before the format, such as `.`"));
        }
        Some((last, names)) if last.text.contains('{') => (names, Format::parse(&last.text)),
        _ => (&*directive.args, Format::common()),
    };
    let mut classes = Vec::new();
    let mut all = false;
    for property in directive.properties() {
        if property.name.text != "class" {
            return Err(property.unknown_property("log", &["class"]));
        }
        if property.args.is_empty() {
            return Err(property.wrong_arguments("success, denial, error or all"));
        }
        for class in &property.args {
            let mut known = ReplyClass::ALL.into_iter();
            match known.find(|known| known.name() == class.text) {
                Some(known) => classes.push(known),
                None if class.text == "all" => all = true,
                None => return Err(class.not("success, denial, error or all")),
            }
        }
    }
    if all {
        classes.clear();
    }
    Ok(Rule {
        names: match names {
            [] => vec![Name::root()],
            names => builder.zones(names)?,
        },
        format,
        classes,
    })
}

impl Rule {
    fn notes(&self, class: ReplyClass) -> bool {
        self.classes.is_empty() || self.classes.contains(&class)
    }

    /// The kernel gives answers and denials, and errors never.
    fn touches(&self) -> Vec<Touch> {
        let touch = |name: &Name| match name {
            // NODATA is a denial of what exists.
            _ if !self.notes(ReplyClass::Denial) => Touch::Present(name.clone()),
            root if root.is_root() => Touch::Everything,
            name => Touch::Below(name.clone()),
        };
        if self.notes(ReplyClass::Success) || self.notes(ReplyClass::Denial) {
            self.names.iter().map(touch).collect()
        } else {
            Vec::new()
        }
    }
}

#[async_trait]
impl Plugin for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        next.run(request).await
    }

    fn touches(&self) -> Vec<Touch> {
        let rules = self.rules.iter();
        rules.flat_map(Rule::touches).collect()
    }

    fn metadata(&self, sent: &Sent<'_>, label: &str) -> Option<String> {
        (label == "log/class").then(|| sent.reply.class.name().to_owned())
    }

    fn sent(&self, sent: &Sent<'_>) {
        let is_mine = |rule: &&Rule| rule.names.iter().any(|name| name.zone_of(sent.name));
        if let Some(rule) = self.rules.iter().find(is_mine)
            && rule.notes(sent.reply.class)
        {
            tracing::info!(target: logging::QUERIES, "{}", rule.format.of(sent));
        }
    }
}
