//! JSON as strangers send it, and the one place that reads any. serde reads a struct from an array
//! too, in the order of its fields: where an object is meant nothing else is taken, however deep it
//! is (`strict`). Lists and maps are bounded while they are read, because a few bytes of text can
//! become a hundred in memory.

mod strict;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use nacolet_model::limits;
use nacolet_registry::{Metadata, SpecError};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use strict::Strict;

/// Reads one object, or a list of them; what is an object inside is one too.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(Strict(&mut reader))?;
    reader.end()?;
    Ok(value)
}

/// Reads one object.
pub(crate) fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(serde_json::Error::custom("the body is no object"));
    }
    read(bytes)
}

/// The members of an object that `names` names, unread. Of two with one name the last counts, as in
/// Jackson, which writes `type` twice itself; all others are passed over. Not for identifiers.
pub(crate) fn members<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
) -> serde_json::Result<[Option<&'a RawValue>; N]> {
    struct Named<'n, const N: usize>([&'n str; N]);
    impl<'de, const N: usize> Visitor<'de> for Named<'_, N> {
        type Value = [Option<&'de RawValue>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            while let Some(Key(name)) = map.next_key()? {
                match self.0.iter().zip(&mut found).find(|(wanted, _)| **wanted == name) {
                    Some((_, value)) => *value = Some(map.next_value()?),
                    None => _ = map.next_value::<IgnoredAny>()?,
                }
            }
            Ok(found)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Named(names))?;
    reader.end()?;
    Ok(found)
}

/// Reads one of [`members`]; one that is not there or `null` is none.
pub(crate) fn member<'a, T: Deserialize<'a>>(
    value: Option<&'a RawValue>,
) -> serde_json::Result<Option<T>> {
    value.map_or(Ok(None), |value| read(value.get().as_bytes()))
}

/// A list of which at most `MAX` items are kept; a longer one is read to its end.
#[derive(Debug, PartialEq)]
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
#[derive(Debug, Default, PartialEq)]
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

/// A JSON value that Jackson would turn into a text. A list or an object is refused where it
/// begins.
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

/// The metadata in a flat object, as Jackson would read it: an entry without a value is none. What
/// has too many entries or bytes is read to its end, and is an error of its own.
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
    fn an_array_is_no_object_however_deep_it_is() {
        #[derive(Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        struct Part {
            id: Option<String>,
            parts: Option<AtMost<Self, 4>>,
            more: Option<Box<Self>>,
            texts: Texts<4>,
            metadata: Option<BTreeMap<String, Option<String>>>,
        }
        let read = |text: &str| read::<Part>(text.as_bytes());
        for text in [
            r#"{"id":"a","parts":[],"more":null,"texts":{"a":"b"},"metadata":{"a":null}}"#,
            r#"{"parts":[{"id":"a","parts":[{"id":"\u0061"}]},{}],"other":[[],{"a":[]}]}"#,
            r#"{"more":{"more":{"id":"a","parts":[{"more":{}}]}}}"#,
        ] {
            assert_eq!(read(text).expect("an object"), serde_json::from_str(text).expect("one"));
        }
        for text in [
            "[]",
            r#"["a"]"#,
            r#"{"more":["a"]}"#,
            r#"{"more":[]}"#,
            r#"{"parts":[["a"]]}"#,
            r#"{"parts":[{},["a"]]}"#,
            r#"{"parts":[{"more":{"parts":[["a"]]}}]}"#,
            r#"{"texts":["a"]}"#,
            r#"{"metadata":["a"]}"#,
            r#"{} {}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn of_two_members_with_one_name_the_last_counts() {
        let read = |text: &'static str| members(text, ["type", "path"]);
        let twice = r#" {"type":"a","x":[{"type":"b"}],"type":"c\n","path":null,"path":null} "#;
        let [kind, path] = read(twice).expect("an object");
        assert_eq!(member::<String>(kind).expect("a text").as_deref(), Some("c\n"));
        assert_eq!(member::<String>(path).expect("none"), None);
        assert!(read("{}").expect("an object").iter().all(Option::is_none));
        for text in
            ["[]", "null", "\"type\"", "", "{\"type\":}", "{\"type\":1", "{} {}", "{\"x\":tru}"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(member::<u8>(read(r#"{"type":"a"}"#).expect("an object")[0]).is_err());
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
