//! The EnrollmentGroup in a file of manifests, read as strictly as the API server reads it. Nothing else in the file is ever
//! repeated: beside the group there may be its password Secret.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

use crate::api::EnrollmentGroup;

/// The group of this name, or the only one. The error says what to correct.
pub(super) fn group_in(text: &str, name: &str) -> Result<EnrollmentGroup, String> {
    // The error's own words quote the text.
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let place = error.location().map_or("it".into(), |place| {
            format!("line {}, column {}", place.line(), place.column())
        });
        format!("{place} is not YAML")
    })?;
    let crd = EnrollmentGroup::crd();
    let groups: Vec<Value> = documents
        .into_iter()
        .flat_map(items)
        .filter(|object| object["kind"] == *"EnrollmentGroup")
        .collect();
    let named = |object: &&Value| object["metadata"]["name"] == *name;
    let names = || {
        let names = groups
            .iter()
            .map(|group| group["metadata"]["name"].as_str());
        let names: Vec<&str> = names.map(Option::unwrap_or_default).collect();
        names.join(", ")
    };
    let group = match (groups.iter().find(named), &groups[..]) {
        (Some(group), _) => group,
        (None, [only]) if only["metadata"]["name"].is_null() => only,
        (None, []) => return Err("there is no object of kind EnrollmentGroup in it".into()),
        (None, _) => {
            return Err(format!(
                "it has no EnrollmentGroup {name}, but {}: name one of them with --group",
                names()
            ));
        }
    };
    let expected = format!("{}/{}", crd.spec.group, crd.spec.versions[0].name);
    if group["apiVersion"] != *expected {
        return Err(format!("the EnrollmentGroup needs apiVersion: {expected}"));
    }
    let schema = crd.spec.versions[0].schema.as_ref();
    if let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_ref()) {
        check_fields(group, schema, "")?;
    }
    serde_json::from_value(group.clone()).map_err(|e| format!("the EnrollmentGroup: {e}"))
}

/// The objects of a List, or the object.
fn items(document: Value) -> Vec<Value> {
    match document {
        Value::Object(mut list) if list.get("kind") == Some(&Value::from("List")) => {
            match list.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        other => vec![other],
    }
}

/// Refuses fields that the schema does not have. (Kubernetes' own `metadata` has no schema here.)
fn check_fields(value: &Value, schema: &JSONSchemaProps, path: &str) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let here = format!("{path}{}{field}", if path.is_empty() { "" } else { "." });
                match schema_of(field, schema) {
                    Known::Field(schema) => check_fields(value, schema, &here)?,
                    Known::Anything => {}
                    Known::Nothing(fields) => {
                        return Err(format!(
                            "{here} is no field: {} has {}",
                            if path.is_empty() { "the object" } else { path },
                            fields.join(", ")
                        ));
                    }
                }
            }
            Ok(())
        }
        Value::Array(items) => match &schema.items {
            Some(JSONSchemaPropsOrArray::Schema(schema)) => items
                .iter()
                .zip(0..)
                .try_for_each(|(item, at)| check_fields(item, schema, &format!("{path}[{at}]"))),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What a schema knows of a field.
enum Known<'s> {
    Field(&'s JSONSchemaProps),
    /// Every field is good.
    Anything,
    /// There are only these.
    Nothing(Vec<&'s str>),
}

fn schema_of<'s>(field: &str, schema: &'s JSONSchemaProps) -> Known<'s> {
    match (&schema.properties, &schema.additional_properties) {
        (_, Some(JSONSchemaPropsOrBool::Schema(every))) => Known::Field(every),
        // Of every object the root has these, and no schema for them.
        _ if ["apiVersion", "kind", "metadata"].contains(&field) => Known::Anything,
        (Some(fields), _) => match fields.get(field) {
            Some(schema) => Known::Field(schema),
            None => Known::Nothing(fields.keys().map(String::as_str).collect()),
        },
        (None, _) => Known::Anything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str =
        "---\nkind: Secret\nmetadata: {name: users}\nstringData: {auth: 'u:$2y$05$hash'}\n";

    fn group(name: &str, more: &str) -> String {
        format!(
            "---\napiVersion: devicecert.dev/v1alpha1\nkind: EnrollmentGroup\nmetadata: {{name: {name}}}\nspec:\n  authorityRef: \
             {{name: ca}}\n{more}"
        )
    }

    fn refused(text: &str) -> String {
        group_in(text, "g").unwrap_err()
    }

    #[test]
    fn the_group_is_found_among_other_objects() {
        let text = format!("{SECRET}{}{}", group("other", ""), group("g", ""));
        let found = group_in(&text, "g").unwrap();
        assert_eq!(found.metadata.name.as_deref(), Some("g"));
        let list = "kind: List\nitems:\n- {apiVersion: devicecert.dev/v1alpha1, kind: EnrollmentGroup, metadata: {}, spec: {authorityRef: {name: ca}}}";
        assert!(group_in(list, "g").is_ok());
    }

    #[test]
    fn a_misspelt_field_is_named_with_those_there_are() {
        for (more, words) in [
            (
                "  authentification: {}\n",
                "spec.authentification is no field: spec has allowedNames",
            ),
            (
                "  profile: {validty: 1d}\n",
                "spec.profile.validty is no field",
            ),
            (
                "  rules: [{expresion: 'true'}]\n",
                "spec.rules[0].expresion is no field",
            ),
            ("state: {}\n", "state is no field: the object has"),
        ] {
            let error = refused(&group("g", more));
            assert!(error.contains(words), "{error}");
        }
        let every = "  authentication: {bootstrap: {authorityRefs: [{name: x}], mapping: {expression: 'csr.commonName'}}, tokens: {}}\n  \
                     limits: {devices: 5}\n";
        if let Err(error) = group_in(&group("g", every), "g") {
            assert!(!error.contains("limits is no field"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(refused(SECRET).contains("no object of kind EnrollmentGroup"));
        let two = refused(&format!("{}{}", group("a", ""), group("b", "")));
        assert!(two.contains("no EnrollmentGroup g, but a, b"), "{two}");
        let old = group("g", "").replace("v1alpha1", "v1");
        assert!(refused(&old).contains("apiVersion: devicecert.dev/v1alpha1"));
    }

    #[test]
    fn nothing_of_the_file_is_repeated_but_the_names_of_fields() {
        for text in [
            format!("{SECRET}: [\n"),
            format!("{SECRET}{}", group("g", "  misspelt: 'u:$2y$05$hash'\n")),
            format!("{}\n{SECRET}\n\t- x", group("g", "")),
        ] {
            let error = refused(&text);
            assert!(!error.contains("hash"), "{error}");
        }
    }
}
