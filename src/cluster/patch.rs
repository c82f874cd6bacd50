//! The one patch helper: a merge patch of what changed, under the preconditions of the object that was decided upon.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::ApiError;

/// Writes the status where it differs from the one that `object` has. The write succeeds only if the object is still
/// the same one at the same resourceVersion. `None`: nothing differed, nothing was written.
pub async fn patch_status<K, S>(
    api: &Api<K>,
    object: &K,
    old: &S,
    new: &S,
) -> Result<Option<K>, ApiError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let Some(difference) = merge_diff(&to_value(old), &to_value(new)) else {
        return Ok(None);
    };
    let body = json!({ "metadata": preconditions(object), "status": difference });
    let name = object.name_any();
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&body))
        .await
        .map(Some)
        .map_err(|source| ApiError::new("write the status of", name, source))
}

/// Merges fields into the metadata (finalizers, labels), under the same preconditions.
pub async fn patch_metadata<K>(api: &Api<K>, object: &K, fields: Value) -> Result<K, ApiError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut metadata = preconditions(object);
    if let Value::Object(fields) = fields {
        metadata.extend(fields);
    }
    let name = object.name_any();
    api.patch(
        &name,
        &PatchParams::default(),
        &Patch::Merge(&json!({ "metadata": metadata })),
    )
    .await
    .map_err(|source| ApiError::new("write the metadata of", name, source))
}

fn preconditions<K: Resource>(object: &K) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("uid".into(), json!(object.meta().uid));
    metadata.insert(
        "resourceVersion".into(),
        json!(object.meta().resource_version),
    );
    metadata
}

fn to_value(status: &impl Serialize) -> Value {
    // Our status types have string keys only, which is all that could fail here; a null writes nothing.
    serde_json::to_value(status).unwrap_or(Value::Null)
}

/// The JSON merge patch (RFC 7396) that turns `old` into `new`; `None` if they are equal.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) => {
                if let Some(difference) = merge_diff(before, value) {
                    patch.insert(key.clone(), difference);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2]});
        assert_eq!(merge_diff(&old, &old), None);
        let new = json!({"a": 1, "b": {"c": 3}, "e": [2], "f": "x"});
        assert_eq!(
            merge_diff(&old, &new),
            Some(json!({"b": {"c": 3, "d": null}, "e": [2], "f": "x"}))
        );
        assert_eq!(merge_diff(&Value::Null, &new), Some(new));
    }
}
