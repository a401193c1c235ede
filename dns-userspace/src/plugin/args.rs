//! Reading the arguments of directives.

use std::{str::FromStr, time::Duration};

use hickory_proto::rr::Name;
use regex::Regex;

use super::text;
use crate::corefile::{Directive, Fault, Word};

/// The longest regular expression, as in `CoreDNS`.
const REGEX_BYTES_MAX: usize = 10_000;

impl Directive {
    /// Its arguments, if there are exactly so many.
    ///
    /// # Errors
    ///
    /// More or fewer; `expected` says what they are.
    pub fn exactly<const N: usize>(&self, expected: &str) -> Result<&[Word; N], Fault> {
        (self.args.as_slice().try_into()).map_err(|_| self.wrong_arguments(expected))
    }

    /// Its argument, if there is one.
    ///
    /// # Errors
    ///
    /// More than one.
    pub fn at_most_one(&self, expected: &str) -> Result<Option<&Word>, Fault> {
        match self.args.as_slice() {
            [] => Ok(None),
            [arg] => Ok(Some(arg)),
            _ => Err(self.wrong_arguments(expected)),
        }
    }

    /// Says that it has no block.
    ///
    /// # Errors
    ///
    /// It has one.
    pub fn no_block(&self) -> Result<(), Fault> {
        match &self.block {
            None => Ok(()),
            Some(_) => Err(Fault::new(
                self.span(),
                format!("`{}` has no block", self.name.text),
                "no `{`",
            )),
        }
    }

    /// More or fewer arguments than `expected`.
    pub fn wrong_arguments(&self, expected: &str) -> Fault {
        Fault::new(
            self.span(),
            format!(
                "`{}` with {} argument{}",
                self.name.text,
                self.args.len(),
                if self.args.len() == 1 { "" } else { "s" }
            ),
            expected,
        )
    }

    /// A line that a directive's block cannot have; `known` are those that it can.
    pub fn unknown_property(&self, of: &str, known: &[&str]) -> Fault {
        let fault = Fault::new(
            self.name.span,
            format!("`{of}` has no property `{}`", self.name.text),
            format!("one of {}", known.join(", ")),
        );
        let similar = known
            .iter()
            .map(|name| (strsim::damerau_levenshtein(&self.name.text, name), name))
            .filter(|(distance, _)| *distance <= 2)
            .min();
        match similar {
            Some((_, name)) => fault.help(format!("did you mean `{name}`?")),
            None => fault,
        }
    }
}

/// The only directive of its name.
///
/// # Errors
///
/// There are several.
pub fn once<'d>(directives: &[&'d Directive]) -> Result<&'d Directive, Fault> {
    match directives {
        [directive] => Ok(directive),
        [_, second, ..] => Err(Fault::new(
            second.name.span,
            format!("`{}` twice in one server block", second.name.text),
            "only one",
        )),
        [] => unreachable!("set up only where the directive is"),
    }
}

impl Word {
    /// A number, or anything else with a form of its own.
    ///
    /// # Errors
    ///
    /// It has another form; `expected` says which.
    pub fn parse<T: FromStr>(&self, expected: &str) -> Result<T, Fault> {
        (self.text.parse()).map_err(|_| self.not(expected))
    }

    /// A duration as Go writes it: `5s`, `1m30s`, `250ms`, `1.5h`.
    ///
    /// # Errors
    ///
    /// Another form, or a negative one.
    pub fn duration(&self) -> Result<Duration, Fault> {
        let nanoseconds = go_parse_duration::parse_duration(&self.text).ok();
        nanoseconds
            .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
            .map(Duration::from_nanos)
            .ok_or_else(|| self.not("a duration, such as 5s or 1m30s"))
    }

    /// A regular expression, of Go's syntax as far as Rust's is the same.
    ///
    /// # Errors
    ///
    /// It is none, or too long.
    pub fn regex(&self) -> Result<Regex, Fault> {
        if self.text.len() > REGEX_BYTES_MAX {
            return Err(self.not("an expression of at most 10000 bytes"));
        }
        Regex::new(&self.text).map_err(|error| self.not(&error.to_string()))
    }

    /// A domain name, in lower case and absolute.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn domain(&self) -> Result<Name, Fault> {
        let name = text::name(&self.text).ok_or_else(|| self.not("a domain name"))?;
        Ok(name.to_lowercase())
    }

    /// `HOST:PORT` or `:PORT`, where something is served.
    ///
    /// # Errors
    ///
    /// Another form.
    pub fn host_and_port(&self) -> Result<&str, Fault> {
        let is_valid = |(host, port): (&str, &str)| {
            let is_bracketed = host.starts_with('[') && host.ends_with(']');
            port.parse::<u16>().is_ok() && (is_bracketed || !host.contains(':'))
        };
        if self.text.rsplit_once(':').is_some_and(is_valid) {
            Ok(&self.text)
        } else {
            Err(self.not("HOST:PORT, such as localhost:9153 or :9153"))
        }
    }

    /// It is not what is expected.
    pub fn not(&self, expected: &str) -> Fault {
        Fault::new(
            self.span,
            format!("`{}` cannot be used here", self.text),
            expected,
        )
    }
}
