//! Parses a frame's text strictly: one object, unique keys at every depth, valid strings, at most
//! [`JSON_DEPTH_MAX`] levels. Values of unknown keys are checked as strictly, but not stored.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::wire::{JSON_DEPTH_MAX, Md5Digest, SIZE_MAX, WireError};

/// Parses one object and stores the values of the keys of `fields`.
///
/// # Errors
/// [`WireError::Json`] if the text is not exactly one strict object.
pub(super) fn read_object<'a>(json: &'a [u8], fields: &mut [Field<'a>]) -> Result<(), WireError> {
    if json.first() != Some(&b'{') || json.last() != Some(&b'}') {
        return Err(WireError::Json(
            "text must begin with { and end with }".to_owned(),
        ));
    }
    // Check UTF-8 once for the whole text: serde_json does not check it in ignored strings.
    let text = std::str::from_utf8(json).map_err(|error| WireError::Json(error.to_string()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_map(TopVisitor { fields })
        .and_then(|()| deserializer.end())
        .map_err(|error| WireError::Json(error.to_string()))
}

/// A key of an object with its value, if present.
#[derive(Debug)]
pub(super) struct Field<'a> {
    key: &'static str,
    value: Option<Value<'a>>,
}

impl<'a> Field<'a> {
    /// A key without a value yet.
    pub(super) const fn absent(key: &'static str) -> Field<'a> {
        Field { key, value: None }
    }

    /// Converts the value to `T`; `None` if the key is absent.
    ///
    /// # Errors
    /// [`WireError::WrongType`] if `convert` refuses the value.
    pub(super) fn read<T>(
        self,
        expected: &'static str,
        convert: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, WireError> {
        match self.value.map(convert) {
            None => Ok(None),
            Some(None) => Err(WireError::WrongType {
                key: self.key,
                expected,
            }),
            Some(read) => Ok(read),
        }
    }

    pub(super) fn text(self) -> Result<Option<Cow<'a, str>>, WireError> {
        self.read("a string", Value::into_text)
    }

    pub(super) fn texts(self) -> Result<Option<Vec<Cow<'a, str>>>, WireError> {
        self.read("an array of strings", |value| match value {
            Value::Array(items) => items.into_iter().map(Value::into_text).collect(),
            _ => None,
        })
    }

    pub(super) fn base64(self) -> Result<Option<Vec<u8>>, WireError> {
        self.read("padded base64", |value| {
            BASE64_STANDARD.decode(&*value.into_text()?).ok()
        })
    }

    pub(super) fn size(self) -> Result<Option<u64>, WireError> {
        self.read("an integer between 0 and 2^63-1", |value| match value {
            Value::Unsigned(size) if size <= SIZE_MAX => Some(size),
            _ => None,
        })
    }

    pub(super) fn flag(self) -> Result<Option<bool>, WireError> {
        self.read("true or false", |value| match value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    pub(super) fn md5(self) -> Result<Option<Md5Digest>, WireError> {
        self.read("32 lowercase hex digits", |value| {
            Md5Digest::parse(&value.into_text()?)
        })
    }

    /// The fields named by `keys`, in that order.
    pub(super) fn object<const N: usize>(
        self,
        keys: [&'static str; N],
    ) -> Result<Option<[Field<'a>; N]>, WireError> {
        self.read("an object", |value| match value {
            Value::Object(mut entries) => Some(keys.map(|key| {
                let at = entries.iter().position(|(name, _)| name == key);
                Field {
                    key,
                    value: at.map(|at| entries.swap_remove(at).1),
                }
            })),
            _ => None,
        })
    }
}

/// Requires the value of a mandatory key.
pub(super) fn required<T>(key: &'static str, read: Option<T>) -> Result<T, WireError> {
    read.ok_or(WireError::MissingKey(key))
}

/// A JSON value, in the detail that the protocol's keys need.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// An integer of digits only.
    Unsigned(u64),
    /// A negative integer.
    Negative(i64),
    /// Any other number: `1.0`, `1e3`, `-0`, and integers of more than 64 bits.
    OtherNumber,
    Text(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The object that is the whole frame.
struct TopVisitor<'f, 'a> {
    fields: &'f mut [Field<'a>],
}

impl<'de> Visitor<'de> for TopVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut unknown_keys = Vec::new();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let Some(field) = self.fields.iter_mut().find(|field| field.key == key) else {
                map.next_value_seed(ValueSeed {
                    depth: 2,
                    keep: false,
                })?;
                unknown_keys.push(key);
                continue;
            };
            let value = map.next_value_seed(ValueSeed {
                depth: 2,
                keep: true,
            })?;
            if field.value.replace(value).is_some() {
                return Err(key_twice(&key));
            }
        }
        refuse_equal_keys(&mut unknown_keys)
    }
}

/// A value below the top level.
#[derive(Clone, Copy)]
struct ValueSeed {
    /// The depth of this value if it is an object or an array; that of the frame is 1.
    depth: usize,
    /// Whether to store the value; otherwise it is only checked.
    keep: bool,
}

impl ValueSeed {
    fn inner<E: Error>(self) -> Result<ValueSeed, E> {
        if self.depth > JSON_DEPTH_MAX {
            return Err(E::custom(format_args!(
                "nesting is deeper than {JSON_DEPTH_MAX}"
            )));
        }
        Ok(ValueSeed {
            depth: self.depth + 1,
            keep: self.keep,
        })
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        // Never `deserialize_ignored_any`: it accepts lone surrogates.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Negative(number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(if self.keep {
            Value::Text(Cow::Owned(text.to_owned()))
        } else {
            Value::Null
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value<'de>, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = array.next_element_seed(inner)? {
            if self.keep {
                items.push(item);
            }
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let inner = self.inner()?;
        let mut keys = Vec::new();
        let mut values = Vec::new();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = map.next_value_seed(inner)?;
            if self.keep {
                values.push((key.clone(), value));
            }
            keys.push(key);
        }
        refuse_equal_keys(&mut keys)?;
        Ok(Value::Object(values))
    }
}

/// A key, borrowed from the frame unless it has escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

// Sorted, since a frame has space for ten thousand keys, and a peer must not be able to cause
// quadratic time.
fn refuse_equal_keys<E: Error>(keys: &mut [Cow<'_, str>]) -> Result<(), E> {
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(key_twice(&pair[0])),
        None => Ok(()),
    }
}

fn key_twice<E: Error>(key: &str) -> E {
    E::custom(format_args!("key {key:?} is there twice"))
}
