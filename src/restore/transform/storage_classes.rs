//! What becomes of the names of storage classes (case 60).

use serde_json::Value;

use super::Facts;
use crate::api::object::{self, Object};

/// The annotation that named the class before there was a field.
const OLD_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Case 60: a volume or a claim is of the class that takes the place of its own.
pub(super) fn map_class(object: &mut Object, facts: &Facts) {
    if facts.storage_classes.is_empty() {
        return;
    }
    let map = |inner: Option<&mut Object>, key: &str| {
        if let Some(Value::String(class)) = inner.and_then(|inner| inner.get_mut(key))
            && let Some(new) = facts.storage_classes.get(class.as_str())
        {
            class.clone_from(new);
        }
    };
    map(object::at_mut(object, &["spec"]), "storageClassName");
    map(
        object::at_mut(object, &["metadata", "annotations"]),
        OLD_ANNOTATION,
    );
}

/// Case 60: so are the claims that a StatefulSet makes.
pub(super) fn map_templates(set: &mut Object, facts: &Facts) {
    for template in object::list_mut(set, &["spec", "volumeClaimTemplates"]) {
        map_class(template, facts);
    }
}
