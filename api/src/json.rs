//! JSON as strangers send it. serde reads a struct from an array too, in the order of its fields: where an
//! object is meant nothing else is taken. Lists and maps are bounded while they are read, because a few bytes
//! of text can become a hundred in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use nacolet_model::limits;
use nacolet_registry::{Metadata, SpecError};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Reads one object.
pub(crate) fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(serde_json::Error::custom("the body is no object"));
    }
    serde_json::from_slice(bytes)
}

/// A list of which at most `MAX` items are kept; a longer one is read to its end.
#[derive(Debug)]
pub(crate) struct AtMost<T, const MAX: usize> {
    items: Vec<T>,
    is_over: bool,
}

impl<T, const MAX: usize> Default for AtMost<T, MAX> {
    fn default() -> Self {
        Self { items: Vec::new(), is_over: false }
    }
}

impl<T, const MAX: usize> AtMost<T, MAX> {
    /// All items, or `error` where there were more than may be.
    pub(crate) fn all<E>(self, error: impl FnOnce() -> E) -> Result<Vec<T>, E> {
        if self.is_over { Err(error()) } else { Ok(self.items) }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for AtMost<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = AtMost<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = AtMost::default();
                while list.items.len() < MAX
                    && let Some(item) = items.next_element()?
                {
                    list.items.push(item);
                }
                while items.next_element::<IgnoredAny>()?.is_some() {
                    list.is_over = true;
                }
                Ok(list)
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Texts by name, at most `MAX` of them; of two with one name the last counts.
#[derive(Debug, Default)]
pub(crate) struct Texts<const MAX: usize>(pub(crate) BTreeMap<String, Option<String>>);

impl<'de, const MAX: usize> Deserialize<'de> for Texts<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<const MAX: usize>;
        impl<'de, const MAX: usize> Visitor<'de> for Entries<MAX> {
            type Value = Texts<MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {MAX} texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((name, text)) = map.next_entry()? {
                    if texts.len() >= MAX && !texts.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("more than {MAX} texts")));
                    }
                    texts.insert(name, text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A JSON value that Jackson would turn into a text. A list or an object is refused where it begins.
#[derive(Debug)]
pub(crate) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    Number(serde_json::Number),
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for One<'a> {
            type Value = Scalar<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_bool<E>(self, yes: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(yes))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number.into()))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
                let number = serde_json::Number::from_f64(number);
                number.map(Scalar::Number).ok_or_else(|| E::custom("no number"))
            }
        }
        deserializer.deserialize_any(One(PhantomData))
    }
}

impl Scalar<'_> {
    pub(crate) fn into_text(self) -> Box<str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Bool(true) => "true".into(),
            Self::Bool(false) => "false".into(),
            Self::Number(number) => number.to_string().into(),
        }
    }
}

/// The metadata in a flat object, as Jackson would read it: an entry without a value is none. What has too
/// many entries or bytes is read to its end, and is an error of its own.
#[derive(Debug)]
pub(crate) struct MetadataJson(pub(crate) Result<Metadata, SpecError>);

impl Default for MetadataJson {
    fn default() -> Self {
        Self(Ok(Metadata::default()))
    }
}

impl<'de> Deserialize<'de> for MetadataJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = MetadataJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(MetadataJson::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // Twice what may be, since some may be without a value.
                const MOST: usize = 2 * limits::METADATA_ENTRIES_MAX;
                let mut entries: BTreeMap<Key<'de>, Option<Scalar<'de>>> = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<Key<'de>, _>()? {
                    if entries.len() >= MOST && !entries.contains_key(&key) {
                        // The rest must be JSON all the same.
                        while map.next_entry::<IgnoredAny, Option<Scalar<'de>>>()?.is_some() {}
                        return Ok(MetadataJson(Err(SpecError::MetadataEntries)));
                    }
                    entries.insert(key, value);
                }
                let said = entries
                    .into_iter()
                    .filter_map(|(key, value)| Some((Box::<str>::from(key.0), value?.into_text())));
                Ok(MetadataJson(Metadata::new(said)))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_no_object() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Asked {
            id: Option<String>,
            name: Option<String>,
        }
        let read = |text: &str| object::<Asked>(text.as_bytes());
        assert_eq!(read(r#" {"name":"d"}"#).expect("an object").name.as_deref(), Some("d"));
        for text in ["[null,\"d\"]", " [null,\"d\"]", "\"d\"", "null", "", "1", "\u{feff}{}"] {
            assert!(read(text).is_err(), "{text}");
        }
        let twice = read(r#"{"id":"a","id":"b"}"#).expect_err("two values of one name");
        assert!(twice.to_string().contains("duplicate field"), "{twice}");
        assert!(read(r#"{"id":"a"}"#).expect("an object").id.is_some());
    }

    #[test]
    fn lists_and_maps_end_where_they_may() {
        let list = |text: &str| serde_json::from_str::<AtMost<u8, 3>>(text).map(|l| l.all(|| ()));
        assert_eq!(list("[1,2,3]").expect("JSON"), Ok(vec![1, 2, 3]));
        assert_eq!(list("[1,2,3,{}]").expect("JSON"), Err(()));
        assert!(list("[1,2,3,").is_err());
        assert!(list("{}").is_err());
        let texts = |text: &str| serde_json::from_str::<Texts<2>>(text).map(|texts| texts.0.len());
        assert_eq!(texts(r#"{"a":"1","b":null,"a":"2"}"#).expect("two"), 2);
        assert!(texts(r#"{"a":"1","b":"2","c":"3"}"#).is_err());
        assert!(texts("[]").is_err());
    }

    #[test]
    fn a_list_is_no_scalar_however_long_it_is() {
        let scalar = |text: &str| serde_json::from_str(text).map(Scalar::into_text);
        for (json, expected) in
            [("\"a\\n\"", "a\n"), ("true", "true"), ("-7", "-7"), ("80", "80"), ("1.5", "1.5")]
        {
            assert_eq!(&*scalar(json).expect("a scalar"), expected);
        }
        for json in ["[]", "{}", "null", "[0,0,0]"] {
            assert!(scalar(json).is_err(), "{json}");
        }
    }

    #[test]
    fn metadata_that_is_too_much_is_told_apart_from_nonsense() {
        let read = |text: &str| serde_json::from_str::<MetadataJson>(text).map(|json| json.0);
        let many = |count: usize| {
            let entries: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{n}")).collect();
            format!("{{{}}}", entries.join(","))
        };
        assert!(read(&many(limits::METADATA_ENTRIES_MAX)).expect("JSON").is_ok());
        for count in [limits::METADATA_ENTRIES_MAX + 1, 10_000] {
            let found = read(&many(count)).expect("JSON");
            assert_eq!(found, Err(SpecError::MetadataEntries), "{count}");
        }
        assert_eq!(read("null").expect("JSON"), Ok(Metadata::default()));
        assert_eq!(read(r#"{"a":null}"#).expect("JSON"), Ok(Metadata::default()));
        assert!(read(r#"{"a":{}}"#).is_err());
        assert!(read("[]").is_err());
    }
}
