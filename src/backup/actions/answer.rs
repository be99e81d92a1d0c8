//! An action's answer, as far as it is looked at: it has to be an object of the same type, and two annotations of Velero's
//! speak to whoever makes the backup.

use bytes::Bytes;
use serde::Deserialize;

use crate::api::object::{self, Object};
use crate::cluster::{ApiType, Item, ItemHeader};

/// Set by an action on its answer: what it names is stored even where the backup's filters leave it out. It is not stored.
const MUST_INCLUDE: &str = "backup.velero.io/must-include-additional-items";
/// Set by an action on its answer: the item is not to be stored.
const SKIP: &str = "velero.io/skip-from-backup";

/// An answer that can be stored.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) item: Item,
    pub(super) must_include: bool,
    pub(super) skip: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

impl Answer {
    /// Reads an answer about an object of a type. Its name may be another one.
    ///
    /// # Errors
    /// Why it cannot be stored; the end of a sentence.
    pub(super) fn read(json: Bytes, api_type: &ApiType) -> Result<Self, String> {
        let bad = |error: serde_json::Error| format!("its answer is no object: {error}");
        let typed: Typed = serde_json::from_slice(&json).map_err(bad)?;
        if typed.kind.is_empty() {
            return Err("its answer is no object".to_owned());
        }
        if typed.kind != api_type.kind || typed.api_version != api_type.api_version() {
            return Err(format!(
                "its answer is a {} of {}, not a {} of {}",
                typed.kind,
                typed.api_version,
                api_type.kind,
                api_type.api_version()
            ));
        }
        let (must_include, skip) = (holds(&json, MUST_INCLUDE), holds(&json, SKIP));
        let (body, must_include, skip) = if must_include || skip {
            read_annotations(&json).map_err(bad)?
        } else {
            (json, false, false)
        };
        let header = ItemHeader::parse(&body).map_err(bad)?;
        if header.name.is_empty() || header.namespace.is_empty() == api_type.namespaced {
            return Err("its answer lacks a name, or has no namespace where it had one".to_owned());
        }
        Ok(Self {
            item: Item { header, body },
            must_include,
            skip,
        })
    }
}

/// Returns whether a text may be in an object: most objects need not be parsed to be seen to lack it.
fn holds(json: &[u8], text: &str) -> bool {
    memchr::memmem::find(json, text.as_bytes()).is_some()
}

/// Returns an object without the annotation that is for us alone, and what the two say.
fn read_annotations(json: &Bytes) -> Result<(Bytes, bool, bool), serde_json::Error> {
    let mut object: Object = serde_json::from_slice(json)?;
    let path = ["metadata", "annotations"];
    let annotations = object::at(&object, &path);
    let has = |key: &str| annotations.and_then(|annotations| annotations.get(key));
    // Its value is of no matter.
    let skip = has(SKIP).is_some();
    let must_include = has(MUST_INCLUDE).is_some_and(|value| value == "true");
    object::remove(&mut object, &path, &[MUST_INCLUDE]);
    Ok((serde_json::to_vec(&object)?.into(), must_include, skip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> ApiType {
        ApiType {
            version: "v1".into(),
            kind: "Pod".into(),
            resource: "pods".into(),
            namespaced: true,
            ..ApiType::default()
        }
    }

    fn pod(metadata: &str) -> Bytes {
        format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{metadata}}}"#).into()
    }

    #[test]
    fn an_answer_is_an_object_of_the_same_type() {
        for (answer, expected) in [
            (pod(r#"{"name":"a","namespace":"n"}"#), Ok("n/a")),
            (pod(r#"{"name":"b","namespace":"m"}"#), Ok("m/b")),
            (pod(r#"{"name":"a"}"#), Err("no namespace")),
            (pod(r#"{"name":"","namespace":"n"}"#), Err("lacks a name")),
            (pod("7"), Err("no object")),
            (Bytes::from_static(b"[]"), Err("no object")),
            (Bytes::from_static(b"{"), Err("no object")),
            (
                Bytes::from_static(
                    br#"{"apiVersion":"v2","kind":"Pod","metadata":{"name":"a","namespace":"n"}}"#,
                ),
                Err("a Pod of v2, not a Pod of v1"),
            ),
        ] {
            let read = Answer::read(answer.clone(), &pods());
            match expected {
                Ok(key) => {
                    let read = read.unwrap();
                    assert_eq!(read.item.header.key(), key);
                    assert_eq!(read.item.body, answer, "as it came");
                    assert!(!read.skip && !read.must_include);
                }
                Err(part) => {
                    let problem = read.unwrap_err();
                    assert!(problem.contains(part), "{answer:?}: {problem}");
                }
            }
        }
    }

    #[test]
    fn annotations_that_are_for_us() {
        for (key, value, must, skip, kept) in [
            (MUST_INCLUDE, "true", true, false, false),
            (MUST_INCLUDE, "false", false, false, false),
            (SKIP, "", false, true, true),
        ] {
            let metadata = format!(
                r#"{{"name":"a","namespace":"n","annotations":{{"{key}":"{value}","other":"1"}}}}"#
            );
            let read = Answer::read(pod(&metadata), &pods()).unwrap();
            assert_eq!(
                (read.must_include, read.skip),
                (must, skip),
                "{key}={value}"
            );
            assert_eq!(holds(&read.item.body, key), kept);
            assert!(holds(&read.item.body, r#""other":"1""#));
        }
        // Elsewhere in an object they are just text.
        let metadata = format!(r#"{{"name":"a","namespace":"n","labels":{{"x":"{SKIP}"}}}}"#);
        assert!(!Answer::read(pod(&metadata), &pods()).unwrap().skip);
    }
}
