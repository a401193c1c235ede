//! From the text of a file to the objects in it.
//!
//! Each document is read twice: once for the kinds in it ([`Shape`]), and once by the types of
//! those kinds. Reading by type straight from the text, not from a tree, is what keeps the line
//! and column of an error.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::shape::{Head, Shape};
use crate::source::{
    Kind, Object,
    objects::{EndpointSlice, Namespace, Pod, Service, ServiceImport},
};

/// Why a file's text is not usable, and where.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not the encoding of YAML and JSON.
    #[error("line {line}, column {column}: not UTF-8")]
    NotUtf8 {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// Not YAML, or not what its kind should look like. The message has line and column.
    #[error("{0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// Not JSON, or not what its kind should look like. The message has line and column.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A document that is no mapping.
    #[error("document {document}: a Kubernetes object is a mapping with apiVersion and kind")]
    NotAnObject {
        /// Which of the file, from 1.
        document: usize,
    },
}

/// The objects of a YAML stream, in order. Documents of other kinds are passed over.
///
/// # Errors
///
/// The first place that is no YAML, or not what its kind should look like.
pub fn yaml(text: &str) -> Result<Vec<Object>, ParseError> {
    let mut wanted = Vec::new();
    for (at, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        wanted.push(Wanted::of_document(Shape::deserialize(document)?, at)?);
    }
    let mut objects = Vec::new();
    if wanted.iter().all(Wanted::is_nothing) {
        return Ok(objects);
    }
    for (document, wanted) in serde_yaml_ng::Deserializer::from_str(text).zip(wanted) {
        objects.extend(wanted.deserialize(document)?);
    }
    Ok(objects)
}

/// The objects of one JSON value, or of several one after the other.
///
/// # Errors
///
/// The first place that is no JSON, or not what its kind should look like.
pub fn json(text: &str) -> Result<Vec<Object>, ParseError> {
    let shapes = serde_json::Deserializer::from_str(text).into_iter::<Shape>();
    let mut wanted = Vec::new();
    for (at, shape) in shapes.enumerate() {
        wanted.push(Wanted::of_document(shape?, at)?);
    }
    let mut objects = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    for wanted in wanted {
        objects.extend(wanted.deserialize(&mut deserializer)?);
    }
    Ok(objects)
}

/// Bytes as text, without the byte order mark that some editors put first.
pub fn utf8(bytes: &[u8]) -> Result<&str, ParseError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let line_start = good.iter().rposition(|&byte| byte == b'\n');
            Err(ParseError::NotUtf8 {
                line: good.split(|&byte| byte == b'\n').count(),
                column: good.len() - line_start.map_or(0, |at| at + 1) + 1,
            })
        }
    }
}

/// What to read a value as.
#[derive(Debug)]
enum Wanted {
    Nothing,
    One(Kind),
    List(Vec<Wanted>),
}

impl Wanted {
    fn of_document(shape: Shape, at: usize) -> Result<Self, ParseError> {
        match shape {
            Shape::Null => Ok(Self::Nothing),
            Shape::Mapping(head) => Ok(Self::of_head(head, None)),
            _ => Err(ParseError::NotAnObject { document: at + 1 }),
        }
    }

    /// An item of a `ServiceList` may leave out what the list has said.
    fn of_head(mut head: Head, list: Option<&Head>) -> Self {
        if let Some(list) = list {
            if head.kind.is_empty()
                && let Some(kind) = list.kind.strip_suffix("List")
            {
                kind.clone_into(&mut head.kind);
            }
            if head.api_version.is_empty() {
                head.api_version.clone_from(&list.api_version);
            }
        }
        match (&*head.api_version, &*head.kind) {
            ("v1", "Service") => Self::One(Kind::Service),
            ("v1", "Namespace") => Self::One(Kind::Namespace),
            ("v1", "Pod") => Self::One(Kind::Pod),
            ("discovery.k8s.io/v1", "EndpointSlice") => Self::One(Kind::EndpointSlice),
            ("multicluster.x-k8s.io/v1alpha1", "ServiceImport") => Self::One(Kind::ServiceImport),
            (_, kind) if kind.ends_with("List") => {
                let items = std::mem::take(&mut head.items);
                let items = items.into_iter().map(|item| match item {
                    Shape::Mapping(item) => Self::of_head(item, Some(&head)),
                    _ => Self::Nothing,
                });
                Self::List(items.collect())
            }
            _ => Self::Nothing,
        }
    }

    fn is_nothing(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::One(_) => false,
            Self::List(items) => items.iter().all(Self::is_nothing),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Wanted {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Vec<Object>, D::Error> {
        if self.is_nothing() {
            IgnoredAny::deserialize(from)?;
            return Ok(Vec::new());
        }
        let object = match self {
            Self::List(items) => return from.deserialize_map(ListVisitor(items)),
            Self::One(Kind::Service) => Object::Service(Box::new(Service::deserialize(from)?)),
            Self::One(Kind::EndpointSlice) => {
                Object::EndpointSlice(Box::new(EndpointSlice::deserialize(from)?))
            }
            Self::One(Kind::Namespace) => {
                Object::Namespace(Box::new(Namespace::deserialize(from)?))
            }
            Self::One(Kind::Pod) => Object::Pod(Box::new(Pod::deserialize(from)?)),
            Self::One(Kind::ServiceImport) => {
                Object::ServiceImport(Box::new(ServiceImport::deserialize(from)?))
            }
            Self::Nothing => return Ok(Vec::new()),
        };
        Ok(vec![object])
    }
}

struct ListVisitor(Vec<Wanted>);

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut objects = Vec::new();
        while let Some(key) = fields.next_key::<Shape>()? {
            if key == Shape::Text("items".to_owned()) {
                objects = fields.next_value_seed(Items(std::mem::take(&mut self.0)))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(objects)
    }
}

struct Items(Vec<Wanted>);

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Vec<Object>, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut objects = Vec::new();
        for wanted in self.0 {
            if let Some(mut item) = items.next_element_seed(wanted)? {
                objects.append(&mut item);
            }
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(objects: &[Object]) -> Vec<Kind> {
        objects.iter().map(|object| object.key().kind).collect()
    }

    #[test]
    fn other_kinds_and_empty_documents_are_passed_over() {
        let text = "\
# only a comment
---
---
apiVersion: apps/v1
kind: Deployment
spec: {template: !custom {1: x, ~: y}}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: other}
---
apiVersion: example.com/v1
kind: AllowList
items: [a, 2, null, {x: 1}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
";
        assert_eq!(kinds(&yaml(text).expect("parses")), [Kind::Service]);
        for text in ["", "# nothing\n", "---\n---\n", "replicas: 3\n"] {
            assert_eq!(yaml(text).expect("parses"), [], "{text:?}");
        }
    }

    #[test]
    fn lists_of_every_sort() {
        let list = r#"{"apiVersion": "v1", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
            {"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "b"}},
            {"metadata": {"name": "p"}, "kind": "Pod", "apiVersion": "v1"},
            null
        ], "kind": "List"}"#;
        let want = [Kind::Namespace, Kind::Pod];
        assert_eq!(kinds(&json(list).expect("parses")), want);
        assert_eq!(kinds(&yaml(list).expect("parses")), want);
        let typed = "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSliceList
items:
- metadata: {name: web-1}
  addressType: IPv4
  endpoints: []
";
        assert_eq!(kinds(&yaml(typed).expect("parses")), [Kind::EndpointSlice]);
    }

    #[test]
    fn several_json_values_in_one_file() {
        let one = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}"#;
        let objects = json(&format!("{one}\n{one}\n")).expect("parses");
        assert_eq!(kinds(&objects), [Kind::Namespace, Kind::Namespace]);
    }

    #[test]
    fn an_error_says_where() {
        let wrong_type = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports:
  - name: http
    port: eighty
";
        let error = yaml(wrong_type).expect_err("port is no number").to_string();
        assert!(error.contains("line 11 column 11"), "{error}");
        assert!(error.contains("spec.ports[0].port"), "{error}");

        let error = yaml("a: 1\nb: [\n").expect_err("unclosed").to_string();
        assert!(error.contains("line 3 column 1"), "{error}");

        let error = json("{\n \"kind\": }").expect_err("no value").to_string();
        assert!(error.contains("line 2 column 10"), "{error}");

        let error = yaml("just text").expect_err("a scalar").to_string();
        assert!(error.contains("document 1"), "{error}");

        let error = utf8(b"a: b\nc: \xff").expect_err("Latin-1").to_string();
        assert_eq!(error, "line 2, column 4: not UTF-8");
    }

    #[test]
    fn aliases_that_explode_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let below = level - 1;
            let line = format!(
                "a{level}: &a{level} [{}]\n",
                vec![format!("*a{below}"); 9].join(", ")
            );
            text.push_str(&line);
        }
        text.push_str("items: *a19\n");
        yaml(&text).expect_err("a bomb");
    }
}
