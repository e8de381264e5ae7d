//! Reading a [`Value`] that another process wrote: lists and objects in it may be nested, but not without end, since the
//! reader is a recursion and its stack has one.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, SeqAccess, VariantAccess, Visitor};

use super::Value;

/// Lists and objects that may stand inside each other. A list of next hops, each with its fields, has two.
pub const MAX_NESTING: u8 = 8;

impl Value {
    /// Lists and objects inside each other; 0 for anything else. More than [`MAX_NESTING`] nobody reads.
    ///
    /// ```
    /// use isthmus_vr_api::show::Value;
    /// assert_eq!(Value::List(vec![Value::List(Vec::new()), Value::Null]).nesting(), 2);
    /// ```
    pub fn nesting(&self) -> usize {
        let inside = |values: &mut dyn Iterator<Item = &Value>| 1 + values.map(Value::nesting).max().unwrap_or(0);
        match self {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Real(_) | Value::Text(_) => 0,
            Value::List(values) => inside(&mut values.iter()),
            Value::Object(fields) => inside(&mut fields.iter().map(|(_, value)| value)),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Within(MAX_NESTING).deserialize(deserializer)
    }
}

/// The variants, in the order of [`Value`].
#[derive(Deserialize)]
#[serde(variant_identifier)]
enum Kind {
    Null,
    Bool,
    Number,
    Real,
    Text,
    List,
    Object,
}

/// Reads a value in which so many lists and objects may stand inside each other.
#[derive(Clone, Copy)]
struct Within(u8);

impl Within {
    fn inside<E: Error>(self) -> Result<Self, E> {
        let deeper = || E::custom(format_args!("a value nested deeper than {MAX_NESTING} lists and objects"));
        self.0.checked_sub(1).map(Within).ok_or_else(deeper)
    }
}

impl<'de> DeserializeSeed<'de> for Within {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_enum("Value", &["Null", "Bool", "Number", "Real", "Text", "List", "Object"], self)
    }
}

impl<'de> Visitor<'de> for Within {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cell of a table")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (kind, content) = data.variant()?;
        Ok(match kind {
            Kind::Null => {
                content.unit_variant()?;
                Value::Null
            }
            Kind::Bool => Value::Bool(content.newtype_variant()?),
            Kind::Number => Value::Number(content.newtype_variant()?),
            Kind::Real => Value::Real(content.newtype_variant()?),
            Kind::Text => Value::Text(content.newtype_variant()?),
            Kind::List => Value::List(content.newtype_variant_seed(Sequence(self.inside()?))?),
            Kind::Object => Value::Object(content.newtype_variant_seed(Sequence(Field(self.inside()?)))?),
        })
    }
}

/// A named value.
#[derive(Clone, Copy)]
struct Field(Within);

impl<'de> DeserializeSeed<'de> for Field {
    type Value = (String, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for Field {
    type Value = (String, Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name and a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let name = fields.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let value = fields.next_element_seed(self.0)?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        Ok((name, value))
    }
}

/// Any number of what the seed reads.
struct Sequence<S>(S);

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for Sequence<S> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for Sequence<S> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    /// What a length claims is not believed: room is made as elements come.
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = elements.next_element_seed(self.0)? {
            all.push(element);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Value {
        let wrap = |value, level: usize| match level % 2 {
            0 => Value::List(vec![Value::Null, value]),
            _ => Value::Object(vec![("inside".to_owned(), value)]),
        };
        (0..depth).fold(Value::Text("x".to_owned()), wrap)
    }

    #[test]
    fn every_kind_of_value_reads_back() {
        let values = [Value::Null, true.into(), u64::MAX.into(), (-1.5).into(), "text".into(), nested(2), nested(8)];
        for value in values {
            let bytes = postcard::to_stdvec(&value).unwrap();
            assert_eq!(postcard::from_bytes::<Value>(&bytes), Ok(value));
        }
    }

    #[test]
    fn one_that_is_nested_deeper_is_refused() {
        let (most, more) = (usize::from(MAX_NESTING), usize::from(MAX_NESTING) + 1);
        assert_eq!((nested(most).nesting(), nested(more).nesting()), (most, more));
        assert!(postcard::from_bytes::<Value>(&postcard::to_stdvec(&nested(most)).unwrap()).is_ok());
        assert!(postcard::from_bytes::<Value>(&postcard::to_stdvec(&nested(more)).unwrap()).is_err());
    }

    #[test]
    fn a_megabyte_of_lists_inside_each_other_does_not_exhaust_the_stack() {
        // A list of one, again and again: its variant and its length.
        let bytes = [5, 1].repeat(512 << 10);
        assert!(postcard::from_bytes::<Value>(&bytes).is_err());
    }
}
