//! The value of an expression for a query.

use std::net::IpAddr;

use hickory_proto::rr::DNSClass;
use ipnet::IpNet;

use super::{
    super::Request,
    parser::{Expr, Function, Operator},
};
use crate::socket::{TCP_ANSWER_BYTES_MAX, Transport, UDP_ANSWER_BYTES_PLAIN};

/// Items of a range. An expression costs each query.
const RANGE_MAX: i64 = 1000;

/// What an expression can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Value>),
}

/// The value; `None` where there is none.
pub fn eval(expr: &Expr, request: &Request) -> Option<Value> {
    match expr {
        Expr::Const(value) => Some(value.clone()),
        Expr::List(items) => {
            let items = items.iter().map(|item| eval(item, request));
            Some(Value::List(items.collect::<Option<_>>()?))
        }
        Expr::Call(function, args) => call(*function, args, request),
        Expr::Not(inner) => Some(Value::Bool(!bool_of(inner, request)?)),
        Expr::Negative(inner) => match eval(inner, request)? {
            Value::Number(number) => Some(Value::Number(number.checked_neg()?)),
            _ => None,
        },
        Expr::Binary(Operator::And, left, right) => {
            let both = bool_of(left, request)? && bool_of(right, request)?;
            Some(Value::Bool(both))
        }
        Expr::Binary(Operator::Or, left, right) => {
            let either = bool_of(left, request)? || bool_of(right, request)?;
            Some(Value::Bool(either))
        }
        Expr::Binary(operator, left, right) => {
            binary(*operator, eval(left, request)?, eval(right, request)?)
        }
        Expr::Matches(inner, regex) => match eval(inner, request)? {
            Value::Text(text) => Some(Value::Bool(regex.is_match(&text))),
            _ => None,
        },
        Expr::Choice(condition, yes, no) => {
            let chosen = if bool_of(condition, request)? {
                yes
            } else {
                no
            };
            eval(chosen, request)
        }
    }
}

fn bool_of(expr: &Expr, request: &Request) -> Option<bool> {
    match eval(expr, request)? {
        Value::Bool(is_true) => Some(is_true),
        _ => None,
    }
}

fn binary(operator: Operator, left: Value, right: Value) -> Option<Value> {
    let value = match (operator, left, right) {
        (Operator::Equal, left, right) => Value::Bool(left == right),
        (Operator::Unequal, left, right) => Value::Bool(left != right),
        (Operator::In, item, Value::List(items)) => Value::Bool(items.contains(&item)),
        (Operator::Range, Value::Number(first), Value::Number(last)) => {
            let is_short = last.checked_sub(first)? < RANGE_MAX;
            let items = (first..=last).map(Value::Number);
            Value::List(is_short.then(|| items.collect())?)
        }
        (_, Value::Text(left), Value::Text(right)) => match operator {
            Operator::Contains => Value::Bool(left.contains(&right)),
            Operator::StartsWith => Value::Bool(left.starts_with(&right)),
            Operator::EndsWith => Value::Bool(left.ends_with(&right)),
            Operator::Plus => Value::Text(left + &right),
            _ => compare(operator, &left, &right)?,
        },
        (_, Value::Number(left), Value::Number(right)) => match operator {
            Operator::Plus => Value::Number(left.checked_add(right)?),
            Operator::Minus => Value::Number(left.checked_sub(right)?),
            Operator::Times => Value::Number(left.checked_mul(right)?),
            Operator::Divided => Value::Number(left.checked_div(right)?),
            Operator::Remainder => Value::Number(left.checked_rem(right)?),
            _ => compare(operator, &left, &right)?,
        },
        _ => return None,
    };
    Some(value)
}

fn compare<T: PartialOrd>(operator: Operator, left: &T, right: &T) -> Option<Value> {
    Some(Value::Bool(match operator {
        Operator::Less => left < right,
        Operator::LessEqual => left <= right,
        Operator::Greater => left > right,
        Operator::GreaterEqual => left >= right,
        _ => return None,
    }))
}

fn call(function: Function, args: &[Expr], request: &Request) -> Option<Value> {
    let mut given = Vec::new();
    for arg in args {
        given.push(eval(arg, request)?);
    }
    let text = |text: String| Some(Value::Text(text));
    let number = |number: usize| Some(Value::Number(i64::try_from(number).ok()?));
    match (function, given.as_slice()) {
        (Function::Type, _) => text(request.rtype.to_string()),
        (Function::Name, _) => text(request.lower_name().to_ascii()),
        (Function::Class, _) => text(DNSClass::from(request.class).to_string()),
        (Function::Proto, _) => text(
            match request.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            }
            .to_owned(),
        ),
        (Function::ClientIp, _) => text(request.client.ip().to_string()),
        (Function::Port, _) => text(request.client.port().to_string()),
        (Function::ServerIp, _) => text(request.local.ip().to_string()),
        (Function::ServerPort, _) => text(request.local.port().to_string()),
        (Function::Id, _) => number(request.header.id.into()),
        (Function::Opcode, _) => number(request.header.opcode.into()),
        (Function::Size, _) => number(request.bytes),
        (Function::Bufsize, _) => number(match (request.transport, &request.edns) {
            (Transport::Tcp, _) => TCP_ANSWER_BYTES_MAX.into(),
            (Transport::Udp, Some(edns)) => edns.udp_bytes.into(),
            (Transport::Udp, None) => UDP_ANSWER_BYTES_PLAIN.into(),
        }),
        (Function::Do, _) => {
            let is_set = request.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
            Some(Value::Bool(is_set))
        }
        (Function::InCidr, [Value::Text(address), Value::Text(network)]) => {
            let (address, network): (IpAddr, IpNet) =
                (address.parse().ok()?, network.parse().ok()?);
            Some(Value::Bool(network.contains(&address)))
        }
        // No plugin tells anything.
        (Function::Metadata, _) => text(String::new()),
        (Function::Len, [Value::Text(text)]) => number(text.chars().count()),
        (Function::Len, [Value::List(items)]) => number(items.len()),
        (Function::Lower, [Value::Text(of)]) => text(of.to_lowercase()),
        (Function::Upper, [Value::Text(of)]) => text(of.to_uppercase()),
        (Function::Trim, [Value::Text(of)]) => text(of.trim().to_owned()),
        _ => None,
    }
}
