//! What records may be written with.
//!
//! ```text
//! .Zone  .Name  .Class  .Type           the zone of the template, and what is asked, as text
//! .Match  .Group                        what the expression matched: `index .Match 1`, `.Group.name`
//! .Remote                               the client's address
//! .Question                             .Name (in its case), .Qtype, .Qclass
//! .Message                              .Id, .RecursionDesired, .CheckingDisabled, .AuthenticatedData
//! parseInt TEXT BASE BITS               a number
//! ```

use std::collections::HashMap;

use domain::base::iana::{Class, Rtype};
use gtmpl::{Context, FuncError, Value};
use hickory_proto::rr::{Name, RecordType};
use regex::Regex;

use crate::plugin::{Request, text};

/// For one query.
pub(super) struct Data {
    pub zone: String,
    pub class: String,
    pub rtype: String,
    value: Value,
}

impl Data {
    /// A query, and what matched its name.
    pub(super) fn new(
        request: &Request,
        zone: &Name,
        name: &str,
        class: u16,
        rtype: RecordType,
        regex: Option<&Regex>,
    ) -> Self {
        let zone = text::show(zone);
        // What has no name is nothing, so that clients cannot make metrics at will.
        let class = match Class::from_int(class) {
            Class::ANY => "ANY",
            class => class.to_mnemonic_str().unwrap_or_default(),
        };
        let class = class.to_owned();
        let rtype = Rtype::from_int(rtype.into()).to_mnemonic_str();
        let rtype = rtype.unwrap_or_default().to_owned();
        let (matched, groups) = matches(regex, name);
        let question = object([
            ("Name", text::show(&request.name).into()),
            ("Qtype", u16::from(request.rtype).into()),
            ("Qclass", request.class.into()),
        ]);
        let header = &request.header;
        let message = object([
            ("Id", header.id.into()),
            ("RecursionDesired", header.recursion_desired.into()),
            ("CheckingDisabled", header.checking_disabled.into()),
            ("AuthenticatedData", header.authentic_data.into()),
        ]);
        let value = object([
            ("Zone", zone.as_str().into()),
            ("Name", name.into()),
            ("Class", class.as_str().into()),
            ("Type", rtype.as_str().into()),
            ("Regex", regex.map_or(".*", Regex::as_str).into()),
            ("Match", Value::Array(matched)),
            ("Group", Value::Map(groups)),
            ("Remote", request.client.ip().to_string().into()),
            ("Question", question),
            ("Message", message),
        ]);
        Data {
            zone,
            class,
            rtype,
            value,
        }
    }

    /// As templates take it.
    pub(super) fn context(&self) -> Context {
        Context::from(self.value.clone())
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.into())
}

/// The groups by number, and by number and name.
fn matches(regex: Option<&Regex>, name: &str) -> (Vec<Value>, HashMap<String, Value>) {
    let Some((regex, found)) = regex.and_then(|regex| Some((regex, regex.captures(name)?))) else {
        return (
            vec![name.into()],
            HashMap::from([("0".to_owned(), name.into())]),
        );
    };
    let groups = found
        .iter()
        .map(|group| group.map_or("", |group| group.as_str()));
    let groups: Vec<Value> = groups.map(Value::from).collect();
    let mut named = HashMap::new();
    for (number, group) in groups.iter().enumerate() {
        named.insert(number.to_string(), group.clone());
    }
    for (name, group) in regex.capture_names().zip(&groups) {
        if let Some(name) = name {
            named.insert(name.to_owned(), group.clone());
        }
    }
    (groups, named)
}

/// Go's `strconv.ParseUint`.
pub(super) fn parse_int(args: &[Value]) -> Result<Value, FuncError> {
    let wrong = |what: &str| FuncError::Generic(format!("parseInt: {what}"));
    let [
        Value::String(digits),
        Value::Number(base),
        Value::Number(bits),
    ] = args
    else {
        return Err(wrong("text, a base and a number of bits are needed"));
    };
    let base = base.as_u64().and_then(|base| u32::try_from(base).ok());
    let base = base.filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| wrong("the base is not from 2 to 36"))?;
    // It would take a sign, which ParseUint does not.
    let number = Some(digits).filter(|digits| !digits.starts_with('+'));
    let number = number.and_then(|digits| u64::from_str_radix(digits, base).ok());
    let bits = match bits.as_u64() {
        Some(0) => Some(64),
        bits => bits.filter(|bits| *bits <= 64),
    };
    let bits = bits.ok_or_else(|| wrong("the number of bits is not from 0 to 64"))?;
    let number = number.filter(|number| bits == 64 || number >> bits == 0);
    let number = number.ok_or_else(|| wrong(&format!("`{digits}` is no such number")))?;
    Ok(Value::from(number))
}
