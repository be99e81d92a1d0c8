//! Cases 12 to 14: definitions of custom types.

use ark::api::RestoreSpec;

use super::*;

const ANIMAL: &str = "
{apiVersion: NAME.example.org/v1, kind: Animal, metadata: {name: simba, namespace: NAME}, spec: {legs: 4}}
---
";

fn definition(more: &str, schema: &str) -> String {
    format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: animals.NAME.example.org}}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {{plural: animals, kind: Animal{more}}}
  versions:
  - {{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {schema}}}}}
"
    )
}

const OPEN: &str = "{type: object, x-kubernetes-preserve-unknown-fields: true}";

#[tokio::test]
async fn case_12_a_definition_is_in_force_before_its_objects_come() -> Result<()> {
    let case = Case::new(12).await?;
    case.restore(&(ANIMAL.to_owned() + &definition("", OPEN)))
        .await?;
    let simba = case
        .must_get(&format!("animals.{}.example.org", case.name), "simba")
        .await?;
    assert_eq!(simba["spec"]["legs"], 4);
    Ok(())
}

#[tokio::test]
async fn case_13_a_definition_that_never_comes_into_force_costs_its_type_alone() -> Result<()> {
    let mut case = Case::new(13).await?;
    case.options.definition_timeout = Duration::from_secs(2);
    let yaml = ANIMAL.to_owned()
        + &definition("", OPEN)
        + "---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
";
    case.store("animals", &yaml).await?;
    // Another definition of the group has its kind already. Made after the backup, whose objects were no beasts.
    case.apply(&definition("", OPEN).replace("animals", "beasts"))
        .await?;
    let outcome = case
        .run("animals", "restore", RestoreSpec::default())
        .await?;
    assert_said(
        &outcome,
        &["error", "animals", "1 object", "did not come into force"],
    );
    case.must_get("configmaps", "thing").await?;
    Ok(())
}

#[tokio::test]
async fn case_14_unknown_fields_stay_where_a_definition_kept_them() -> Result<()> {
    let case = Case::new(14).await?;
    let schema = "{type: object, properties: {spec: {type: object, properties: {legs: {type: integer, default: 4}, \
                  speed: {type: number, default: 1.0}}}}}";
    let old = definition("", schema).replace("  scope:", "  preserveUnknownFields: true\n  scope:");
    let yaml = old
        + "---
{apiVersion: NAME.example.org/v1, kind: Animal, metadata: {name: simba, namespace: NAME}, mood: calm, spec: {}}
";
    case.restore(&yaml).await?;
    let of = format!("animals.{}.example.org", case.name);
    let simba = case.must_get(&of, "simba").await?;
    assert_eq!(simba["mood"], "calm");
    assert_eq!(simba["spec"]["legs"], 4);
    let made = case
        .must_get_global("customresourcedefinitions.apiextensions.k8s.io", &of)
        .await?;
    assert_ne!(made["spec"]["preserveUnknownFields"], true);
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    assert!(at(&made, &format!("{properties}/legs/default")).is_i64());
    Ok(())
}

/// What was made as `v1beta1` could be read as `v1`, and backed up so, and still be none that `v1` takes.
#[tokio::test]
async fn case_14_a_definition_that_only_became_the_new_version_is_accepted() -> Result<()> {
    let case = Case::new(14).await?;
    let schema =
        "{properties: {spec: {properties: {legs: {anyOf: [{type: string}, {type: integer}]}}}}}";
    let old = (definition("", schema) + "---" + ANIMAL.trim_end_matches("---\n"))
        .replace("example.org", "k8s.io")
        .replace("  scope:", "  preserveUnknownFields: true\n  scope:");
    case.restore(&old).await?;
    let of = format!("animals.{}.k8s.io", case.name);
    assert_eq!(case.must_get(&of, "simba").await?["spec"]["legs"], 4);
    // Once more: what was said for it is no difference.
    case.restore(&old).await?;
    Ok(())
}
