//! Whether the parts of an expression fit together.

use std::fmt;

use ipnet::IpNet;

use super::{
    eval::Value,
    parser::{Expr, Function, Operator},
};

/// What an expression is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Number,
    Text,
    /// Of items of one type; `None`: it is empty.
    List(Option<Box<Type>>),
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Type::Bool => "true or false",
            Type::Number => "a number",
            Type::Text => "text",
            Type::List(_) => "a list",
        })
    }
}

/// The type of an expression.
///
/// # Errors
///
/// What does not fit, in words.
pub fn type_of(expr: &Expr) -> Result<Type, String> {
    match expr {
        Expr::Const(Value::Bool(_)) => Ok(Type::Bool),
        Expr::Const(Value::Number(_)) => Ok(Type::Number),
        Expr::Const(Value::Text(_)) => Ok(Type::Text),
        Expr::Const(Value::List(_)) => Ok(Type::List(None)),
        Expr::List(items) => {
            let mut types = items.iter().map(type_of);
            let Some(first) = types.next().transpose()? else {
                return Ok(Type::List(None));
            };
            for other in types {
                same(&first, &other?)?;
            }
            Ok(Type::List(Some(first.into())))
        }
        Expr::Call(function, args) => call(*function, args),
        Expr::Not(inner) => is(inner, &Type::Bool),
        Expr::Negative(inner) => is(inner, &Type::Number),
        Expr::Binary(operator, left, right) => binary(*operator, left, right),
        Expr::Matches(inner, _) => is(inner, &Type::Text).map(|_| Type::Bool),
        Expr::Choice(condition, yes, no) => {
            is(condition, &Type::Bool)?;
            let yes = type_of(yes)?;
            same(&yes, &type_of(no)?)?;
            Ok(yes)
        }
    }
}

fn binary(operator: Operator, left: &Expr, right: &Expr) -> Result<Type, String> {
    let both = |wanted: &Type| is(left, wanted).and_then(|_| is(right, wanted));
    match operator {
        Operator::Or | Operator::And => both(&Type::Bool),
        Operator::Equal | Operator::Unequal => {
            same(&type_of(left)?, &type_of(right)?).map(|()| Type::Bool)
        }
        Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
            let wanted = type_of(left)?;
            if matches!(wanted, Type::Number | Type::Text) {
                both(&wanted).map(|_| Type::Bool)
            } else {
                Err(format!("{wanted} is neither less nor greater"))
            }
        }
        Operator::In => match type_of(right)? {
            Type::List(None) => Ok(Type::Bool),
            Type::List(Some(item)) => same(&item, &type_of(left)?).map(|()| Type::Bool),
            other => Err(format!("{other} where a list was expected, behind `in`")),
        },
        Operator::Contains | Operator::StartsWith | Operator::EndsWith => {
            both(&Type::Text).map(|_| Type::Bool)
        }
        Operator::Range => both(&Type::Number).map(|number| Type::List(Some(number.into()))),
        Operator::Plus if type_of(left)? == Type::Text => both(&Type::Text),
        Operator::Plus
        | Operator::Minus
        | Operator::Times
        | Operator::Divided
        | Operator::Remainder => both(&Type::Number),
    }
}

fn call(function: Function, args: &[Expr]) -> Result<Type, String> {
    let name = function.name();
    let wanted = match function {
        Function::InCidr => 2,
        Function::Metadata | Function::Len | Function::Lower | Function::Upper | Function::Trim => {
            1
        }
        _ => 0,
    };
    if args.len() != wanted {
        return Err(format!(
            "`{name}` with {} arguments, not {wanted}",
            args.len()
        ));
    }
    match function {
        Function::Len => match type_of(&args[0])? {
            Type::Text | Type::List(_) => {}
            other => return Err(format!("{other} has no length")),
        },
        _ => {
            for arg in args {
                is(arg, &Type::Text)?;
            }
        }
    }
    if let (Function::InCidr, [_, Expr::Const(Value::Text(network))]) = (function, args)
        && network.parse::<IpNet>().is_err()
    {
        return Err(format!("`{network}` is not a network, such as 10.0.0.0/8"));
    }
    Ok(match function {
        Function::Do | Function::InCidr => Type::Bool,
        Function::Id | Function::Opcode | Function::Size | Function::Bufsize | Function::Len => {
            Type::Number
        }
        _ => Type::Text,
    })
}

fn is(expr: &Expr, wanted: &Type) -> Result<Type, String> {
    let found = type_of(expr)?;
    same(wanted, &found)?;
    Ok(found)
}

fn same(wanted: &Type, found: &Type) -> Result<(), String> {
    let is_list = |of: &Type| matches!(of, Type::List(None));
    let are_lists = matches!((wanted, found), (Type::List(_), Type::List(_)));
    if wanted == found || (are_lists && (is_list(wanted) || is_list(found))) {
        Ok(())
    } else {
        Err(format!("{found} where {wanted} was expected"))
    }
}
