//! The samples for users. That the API server takes them is for `make test-chart`; here, that the operator can use them.

use std::fs;

use devicecert::{api::EnrollmentGroup, policy::Group};
use serde_json::Value;

#[test]
fn every_group_of_the_samples_has_rules_that_can_be_applied() {
    let mut groups = Vec::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for object in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            if object["kind"] == "EnrollmentGroup" {
                let group: EnrollmentGroup = serde_json::from_value(object).unwrap();
                let name = group.metadata.name.clone().unwrap();
                let compiled = Group::compile(&group);
                compiled.unwrap_or_else(|refusal| panic!("{}: {refusal}", path.display()));
                groups.push(name);
            }
        }
    }
    groups.sort();
    let different = groups.windows(2).all(|pair| pair[0] != pair[1]);
    assert!(different && groups.len() >= 13, "{groups:?}");
}
