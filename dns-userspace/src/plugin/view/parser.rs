//! From words to a tree.

use regex::Regex;

use super::{
    eval::Value,
    lexer::{Token, tokens},
};

/// Parentheses and operators within each other.
const DEPTH_MAX: usize = 64;

/// An expression.
#[derive(Debug)]
pub enum Expr {
    Const(Value),
    List(Vec<Expr>),
    Call(Function, Vec<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Matches(Box<Expr>, Regex),
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// Functions, with their names.
macro_rules! functions {
    ($($function:ident $name:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Function { $($function),* }

        impl Function {
            fn of(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$function),)* _ => None }
            }

            pub fn name(self) -> &'static str {
                match self { $(Self::$function => $name),* }
            }
        }
    };
}

functions! {
    Type "type" Name "name" Class "class" Proto "proto" ClientIp "client_ip" Port "port"
    ServerIp "server_ip" ServerPort "server_port" Id "id" Opcode "opcode" Size "size"
    Bufsize "bufsize" Do "do" InCidr "incidr" Metadata "metadata" Len "len" Lower "lower"
    Upper "upper" Trim "trim"
}

/// Operators between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Plus,
    Minus,
    Times,
    Divided,
    Remainder,
}

impl Operator {
    /// The operator of a word, and how tightly it binds.
    fn of(token: &Token) -> Option<(Self, u8)> {
        let text = match token {
            Token::Word(word) => word.as_str(),
            Token::Sign(sign) => sign,
            _ => return None,
        };
        Some(match text {
            "or" | "||" => (Self::Or, 1),
            "and" | "&&" => (Self::And, 2),
            "==" => (Self::Equal, 3),
            "!=" => (Self::Unequal, 3),
            "<" => (Self::Less, 3),
            "<=" => (Self::LessEqual, 3),
            ">" => (Self::Greater, 3),
            ">=" => (Self::GreaterEqual, 3),
            "in" => (Self::In, 3),
            "contains" => (Self::Contains, 3),
            "startsWith" => (Self::StartsWith, 3),
            "endsWith" => (Self::EndsWith, 3),
            ".." => (Self::Range, 4),
            "+" => (Self::Plus, 5),
            "-" => (Self::Minus, 5),
            "*" => (Self::Times, 6),
            "/" => (Self::Divided, 6),
            "%" => (Self::Remainder, 6),
            _ => return None,
        })
    }
}

/// As tightly as comparisons bind.
const COMPARISON: u8 = 3;

/// The tree of a text.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser {
        tokens: tokens(text)?.into_iter().peekable(),
        depth: 0,
    };
    let expr = parser.choice()?;
    match parser.tokens.next() {
        None => Ok(expr),
        Some(token) => Err(format!("{} behind the expression", show(&token))),
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    fn take(&mut self, sign: &str) -> bool {
        let is_it = |token: &Token| match token {
            Token::Sign(known) => *known == sign,
            Token::Word(word) => word == sign,
            _ => false,
        };
        self.tokens.next_if(is_it).is_some()
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) {
            return Ok(());
        }
        Err(match self.tokens.peek() {
            Some(token) => format!("{} where `{sign}` was expected", show(token)),
            None => format!("the expression ends where `{sign}` was expected"),
        })
    }

    fn choice(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!(
                "more than {DEPTH_MAX} expressions within each other"
            ));
        }
        let condition = self.binary(0)?;
        let expr = if self.take("?") {
            let yes = self.choice()?;
            self.expect(":")?;
            Expr::Choice(condition.into(), yes.into(), self.choice()?.into())
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// Operators that bind more tightly than `outer`; those of one kind go from left to right.
    fn binary(&mut self, outer: u8) -> Result<Expr, String> {
        let mut left = self.unary()?;
        loop {
            if outer < COMPARISON && self.take("matches") {
                left = Expr::Matches(left.into(), self.regex()?);
                continue;
            }
            if outer < COMPARISON && self.take("not") {
                self.expect("in")?;
                let list = self.binary(COMPARISON)?;
                left = Expr::Not(Expr::Binary(Operator::In, left.into(), list.into()).into());
                continue;
            }
            let found = self.tokens.peek().and_then(Operator::of);
            let Some((operator, inner)) = found.filter(|(_, inner)| *inner > outer) else {
                return Ok(left);
            };
            self.tokens.next();
            let right = self.binary(inner)?;
            left = Expr::Binary(operator, left.into(), right.into());
        }
    }

    /// What `matches` is followed by.
    fn regex(&mut self) -> Result<Regex, String> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Regex::new(&text).map_err(|error| error.to_string()),
            _ => Err("`matches` is followed by a regular expression in quotes".to_owned()),
        }
    }

    fn unary(&mut self) -> Result<Expr, String> {
        let mut signs = Vec::new();
        loop {
            if self.take("not") || self.take("!") {
                signs.push(true);
            } else if self.take("-") {
                signs.push(false);
            } else {
                break;
            }
            if signs.len() > DEPTH_MAX {
                return Err(format!("more than {DEPTH_MAX} signs before an expression"));
            }
        }
        let expr = self.primary()?;
        Ok(signs.into_iter().rev().fold(expr, |expr, is_not| {
            if is_not {
                Expr::Not(expr.into())
            } else {
                Expr::Negative(expr.into())
            }
        }))
    }

    fn primary(&mut self) -> Result<Expr, String> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Ok(Expr::Const(Value::Text(text))),
            Some(Token::Number(number)) => Ok(Expr::Const(Value::Number(number))),
            Some(Token::Word(word)) if word == "true" || word == "false" => {
                Ok(Expr::Const(Value::Bool(word == "true")))
            }
            Some(Token::Word(word)) => {
                let function = Function::of(&word)
                    .ok_or_else(|| format!("there is no function `{word}` in expressions"))?;
                self.expect("(")?;
                Ok(Expr::Call(function, self.list(")")?))
            }
            Some(Token::Sign("[")) => Ok(Expr::List(self.list("]")?)),
            Some(Token::Sign("(")) => {
                let expr = self.choice()?;
                self.expect(")")?;
                Ok(expr)
            }
            Some(token) => Err(format!("{} where an expression was expected", show(&token))),
            None => Err("the expression ends where more was expected".to_owned()),
        }
    }

    fn list(&mut self, close: &str) -> Result<Vec<Expr>, String> {
        let mut items = Vec::new();
        while !self.take(close) {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.choice()?);
        }
        Ok(items)
    }
}

fn show(token: &Token) -> String {
    match token {
        Token::Text(text) => format!("'{text}'"),
        Token::Number(number) => format!("`{number}`"),
        Token::Word(word) => format!("`{word}`"),
        Token::Sign(sign) => format!("`{sign}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_or_too_deep_is_refused() {
        for (text, message) in [
            (format!("1{}", "+1".repeat(1000)), "more than 500 words"),
            (format!("{}true", "(".repeat(100)), "within each other"),
            (format!("{}true", "!".repeat(100)), "signs before"),
        ] {
            let told = parse(&text).expect_err("too much");
            assert!(told.contains(message), "{told}");
        }
        assert!(parse(&format!("1{}", "+1".repeat(200))).is_ok());
    }

    #[test]
    fn operators_bind_as_in_expr_lang() {
        for (text, same) in [
            ("1 + 2 * 3 == 7 and true", "((1 + (2 * 3)) == 7) and true"),
            ("false and false or true", "(false and false) or true"),
            ("10 - 2 - 3", "(10 - 2) - 3"),
            ("not true or true", "(not true) or true"),
            ("1 in 0..1 + 1", "1 in (0..(1 + 1))"),
            ("true ? 1 : false ? 2 : 3", "true ? 1 : (false ? 2 : 3)"),
        ] {
            let show = |text| format!("{:?}", parse(text).expect(text));
            assert_eq!(show(text), show(same), "{text}");
        }
    }
}
