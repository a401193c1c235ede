//! The first look at a document: which kinds of objects are in it, whatever else is.
//!
//! Manifests hold kinds that we do not know, with contents of any shape; even `items` may be
//! anything there. So this look takes everything for granted except the three fields that it
//! needs, and lets the second look, by the real types, find the errors.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor},
};

/// What a YAML or JSON value looks like from outside.
#[derive(Debug, Default, PartialEq)]
pub enum Shape {
    /// Nothing but comments, perhaps.
    #[default]
    Null,
    /// A mapping.
    Mapping(Head),
    /// Text.
    Text(String),
    /// A sequence.
    Sequence(Vec<Shape>),
    /// Anything else.
    Other,
}

/// The fields that say what an object is.
#[derive(Debug, Default, PartialEq)]
pub struct Head {
    /// `apiVersion`
    pub api_version: String,
    /// `kind`
    pub kind: String,
    /// `items`, of a list
    pub items: Vec<Shape>,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        Shape::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Text(text.to_owned()))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut shapes = Vec::new();
        while let Some(shape) = items.next_element()? {
            shapes.push(shape);
        }
        Ok(Shape::Sequence(shapes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Shape, A::Error> {
        let mut head = Head::default();
        // A key may be anything in YAML, a number or nothing at all.
        while let Some(key) = fields.next_key::<Shape>()? {
            match key {
                Shape::Text(key) if key == "apiVersion" => {
                    head.api_version = fields.next_value::<Shape>()?.into_text();
                }
                Shape::Text(key) if key == "kind" => {
                    head.kind = fields.next_value::<Shape>()?.into_text();
                }
                Shape::Text(key) if key == "items" => {
                    if let Shape::Sequence(items) = fields.next_value()? {
                        head.items = items;
                    }
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Shape::Mapping(head))
    }

    /// A value with a YAML tag of its own.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Shape, A::Error> {
        let (_, value) = data.variant::<IgnoredAny>()?;
        value.newtype_variant::<IgnoredAny>()?;
        Ok(Shape::Other)
    }
}

impl Shape {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            _ => String::new(),
        }
    }
}
