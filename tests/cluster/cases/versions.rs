//! Cases 15 to 17 and 86: types that the target serves otherwise, or not at all.

use ark::api::RestoreSpec;

use super::*;

#[tokio::test]
async fn case_15_definitions_of_the_old_version_are_converted() -> Result<()> {
    let case = Case::new(15).await?;
    case.restore(
        "
apiVersion: apiextensions.k8s.io/v1beta1
kind: CustomResourceDefinition
metadata: {name: animals.NAME.example.org}
spec:
  group: NAME.example.org
  version: v1
  scope: Namespaced
  names: {plural: animals, kind: Animal}
  additionalPrinterColumns: [{name: Legs, type: integer, JSONPath: .spec.legs}]
  subresources: {status: {}}
  validation: {openAPIV3Schema: {properties: {spec: {properties: {legs: {type: integer}}}}}}
---
{apiVersion: NAME.example.org/v1, kind: Animal, metadata: {name: simba, namespace: NAME}, spec: {legs: 4, mane: long}}
",
    )
    .await?;
    let of = format!("animals.{}.example.org", case.name);
    let simba = case.must_get(&of, "simba").await?;
    assert_eq!(simba["spec"]["legs"], 4);
    assert_eq!(
        simba["spec"]["mane"], "long",
        "unknown fields were kept by default"
    );
    let made = case
        .must_get_global("customresourcedefinitions.apiextensions.k8s.io", &of)
        .await?;
    let version = &made["spec"]["versions"][0];
    assert_eq!(
        version["additionalPrinterColumns"][0]["jsonPath"],
        ".spec.legs"
    );
    assert!(version["subresources"]["status"].is_object());
    Ok(())
}

#[tokio::test]
async fn case_16_a_type_that_is_not_served_is_one_line() -> Result<()> {
    let case = Case::new(16).await?;
    let outcome = case
        .restore_as(
            "
{apiVersion: NAME.example.org/v1, kind: Ghost, metadata: {name: a, namespace: NAME}}
---
{apiVersion: NAME.example.org/v1, kind: Ghost, metadata: {name: b, namespace: NAME}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
",
            RestoreSpec::default(),
        )
        .await?;
    assert_said(
        &outcome,
        &["error", "ghosts", "2 objects", "does not serve"],
    );
    case.must_get("configmaps", "thing").await?;
    Ok(())
}

#[tokio::test]
async fn case_17_a_type_served_in_another_version_is_restored_in_it() -> Result<()> {
    let case = Case::new(17).await?;
    case.apply(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: animals.NAME.example.org}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {plural: animals, kind: Animal}
  versions:
  - name: v2
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {legs: {type: integer}}}}}}
",
    )
    .await?;
    case.served(&format!("animals.{}.example.org", case.name))
        .await?;
    let outcome = case
        .restore_as(
            "
{apiVersion: NAME.example.org/v1, kind: Animal, metadata: {name: simba, namespace: NAME}, spec: {legs: 4}}
---
{apiVersion: NAME.example.org/v1, kind: Animal, metadata: {name: nala, namespace: NAME}, spec: {wings: 2}}
",
            RestoreSpec::default(),
        )
        .await?;
    // What the other version does not know is said, not silently lost.
    assert_said(&outcome, &["error", "nala", "wings"]);
    let simba = case
        .must_get(&format!("animals.{}.example.org", case.name), "simba")
        .await?;
    assert_eq!(simba["apiVersion"], format!("{}.example.org/v2", case.name));
    Ok(())
}

#[tokio::test]
async fn case_86_one_object_in_two_groups_is_restored_once() -> Result<()> {
    let case = Case::new(86).await?;
    let object = |group: &str| {
        format!(
            "
apiVersion: {group}
kind: Deployment
metadata: {{name: web, namespace: NAME, uid: u-same}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: web}}}}
  template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: main, image: pause}}]}}}}
---
"
        )
    };
    let outcome = case
        .restore(&(object("apps/v1") + &object("extensions/v1beta1")))
        .await?;
    // The namespace and the one object.
    assert_eq!(outcome.created, 2);
    case.must_get("deployments.apps", "web").await?;
    Ok(())
}
