//! Cases 1 to 8: metadata and status, whatever the type.

use ark::api::{RestoreSpec, RestoreStatusSpec};
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn case_01_what_the_server_sets_is_dropped_and_the_rest_kept() -> Result<()> {
    let case = Case::new(1).await?;
    case.restore(
        "
apiVersion: v1
kind: ConfigMap
metadata:
  name: thing
  namespace: NAME
  uid: 00000000-0000-0000-0000-000000000001
  resourceVersion: '77'
  generation: 5
  selfLink: /somewhere
  creationTimestamp: '2001-01-01T00:00:00Z'
  labels: {a: b}
  annotations: {c: d}
  finalizers: [example.org/held]
data: {k: v}
",
    )
    .await?;
    let thing = case.must_get("configmaps", "thing").await?;
    let metadata = &thing["metadata"];
    assert_ne!(metadata["uid"], "00000000-0000-0000-0000-000000000001");
    assert_ne!(metadata["resourceVersion"], "77");
    assert_ne!(metadata["creationTimestamp"], "2001-01-01T00:00:00Z");
    assert_eq!(metadata["labels"]["a"], "b");
    assert_eq!(metadata["annotations"], json!({"c": "d"}));
    assert_eq!(metadata["finalizers"], json!(["example.org/held"]));
    assert_eq!(thing["data"], json!({"k": "v"}));
    Ok(())
}

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: moods.NAME.example.org}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {plural: moods, kind: Mood}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: NAME.example.org/v1
kind: Mood
metadata: {name: simba, namespace: NAME, annotations: {ANNOTATION}}
status: {mood: calm}
";

#[tokio::test]
async fn case_03_a_dry_run_names_states_that_do_not_come_back() -> Result<()> {
    let case = Case::new(3).await?;
    let group = format!("{}.example.org", case.name);
    let moods = format!("moods.{group}");
    let rule = |path: &str| {
        format!(
            "{{version: v1, resourceModifierRules: [{{conditions: {{groupResource: {moods}}}, patches: [{{operation: add, path: {path}, value: '\"x\"'}}]}}]}}"
        )
    };
    for (path, said_of_it) in [("/spec", 1), ("/spec/none", 2)] {
        // The definition comes with the restore: nothing of the type can be asked of the API server.
        let spec = RestoreSpec {
            dry_run: Some(true),
            resource_modifiers: Some(serde_saphyr::from_str(&rule(path))?),
            ..RestoreSpec::default()
        };
        let outcome = case
            .restore_as(&DEFINITION.replace("ANNOTATION", ""), spec)
            .await?;
        let all = said(&outcome);
        assert!(
            all.iter()
                .any(|line| line.contains("moods") && line.contains("with a status")),
            "{all:?}"
        );
        // A patch that cannot be applied is seen before anything is made, too.
        assert_eq!(all.len(), said_of_it, "{all:?}");
        assert_eq!(outcome.counts.conflict, said_of_it as u64 - 1, "{path}");
    }
    assert!(case.get_global("namespaces", &case.name).await?.is_none());
    Ok(())
}

async fn mood(number: u32, annotation: &str, status: Option<RestoreStatusSpec>) -> Result<Value> {
    let case = Case::new(number).await?;
    let outcome = case
        .restore_as(
            &DEFINITION.replace("ANNOTATION", annotation),
            RestoreSpec {
                restore_status: status,
                ..RestoreSpec::default()
            },
        )
        .await?;
    assert_silent(&outcome);
    let of = format!("moods.{}.example.org", case.name);
    Ok(case.must_get(&of, "simba").await?["status"].clone())
}

fn statuses(included: &[&str], excluded: &[&str]) -> RestoreStatusSpec {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    RestoreStatusSpec {
        included_resources: list(included),
        excluded_resources: list(excluded),
    }
}

#[tokio::test]
async fn case_02_the_status_is_not_restored() -> Result<()> {
    assert_eq!(mood(2, "", None).await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn case_03_the_status_of_types_that_are_named_is_restored() -> Result<()> {
    let calm = json!({"mood": "calm"});
    assert_eq!(mood(3, "", Some(statuses(&["*"], &[]))).await?, calm);
    assert_eq!(mood(3, "", Some(statuses(&["Mood"], &[]))).await?, calm);
    assert_eq!(
        mood(3, "", Some(statuses(&["*"], &["moods"]))).await?,
        Value::Null
    );
    Ok(())
}

#[tokio::test]
async fn case_04_an_annotation_overrides_whether_the_status_is_restored() -> Result<()> {
    let calm = json!({"mood": "calm"});
    let note = |value: &str| format!("velero.io/restore-status: '{value}'");
    assert_eq!(mood(4, &note("TRUE"), None).await?, calm);
    let all = || Some(statuses(&["*"], &[]));
    assert_eq!(mood(4, &note("False"), all()).await?, Value::Null);
    assert_eq!(mood(4, &note("perhaps"), all()).await?, calm);
    assert_eq!(mood(4, &note("perhaps"), None).await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn case_05_restored_objects_name_the_restore_and_its_backup() -> Result<()> {
    let case = Case::new(5).await?;
    let yaml = "{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}";
    let long = "b".repeat(100);
    case.store(&long, yaml).await?;
    case.run(&long, &"r".repeat(100), RestoreSpec::default())
        .await?;
    let thing = case.must_get("configmaps", "thing").await?;
    let labels = thing["metadata"]["labels"].as_object().context("labels")?;
    for (key, start) in [
        ("ark.heptio.com/restore-name", "rrr"),
        ("ark.heptio.com/backup-name", "bbb"),
    ] {
        let value = labels[key].as_str().context("a label")?;
        assert!(
            value.len() <= 63 && value.starts_with(start),
            "{key}: {value}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn case_06_fields_go_back_to_who_applied_them() -> Result<()> {
    let case = Case::new(6).await?;
    case.restore(
        r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: applied
  namespace: NAME
  managedFields:
  - manager: deployer
    operation: Apply
    apiVersion: v1
    time: '2026-01-01T00:00:00Z'
    fieldsType: FieldsV1
    fieldsV1: {"f:data": {"f:color": {}}}
data: {color: red}
"#,
    )
    .await?;
    let applied = case.must_get("configmaps", "applied").await?;
    let owners = applied["metadata"]["managedFields"]
        .as_array()
        .context("managed fields")?;
    assert!(
        owners.iter().any(|owner| owner["manager"] == "deployer"
            && owner["operation"] == "Apply"
            && owner["fieldsV1"]["f:data"]["f:color"].is_object()),
        "{owners:?}"
    );
    // The one who applied it may go on without a conflict, and take fields away.
    let api: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(case.client.clone(), &case.name);
    let next = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"},
        "data": {"shape": "round"}});
    let params = kube::api::PatchParams::apply("deployer");
    let now = api
        .patch("applied", &params, &kube::api::Patch::Apply(&next))
        .await?;
    assert_eq!(
        now.data,
        Some([("shape".to_owned(), "round".to_owned())].into())
    );
    Ok(())
}

#[tokio::test]
async fn case_07_finalizers_stay() -> Result<()> {
    let case = Case::new(7).await?;
    case.restore(
        "{apiVersion: v1, kind: Secret, metadata: {name: held, namespace: NAME, finalizers: [example.org/a, example.org/b]}}",
    )
    .await?;
    let held = case.must_get("secrets", "held").await?;
    assert_eq!(
        held["metadata"]["finalizers"],
        json!(["example.org/a", "example.org/b"])
    );
    Ok(())
}

#[tokio::test]
async fn case_08_an_object_with_a_generated_name_keeps_it() -> Result<()> {
    let case = Case::new(8).await?;
    case.restore(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: job-x7k2p, generateName: job-, namespace: NAME}}",
    )
    .await?;
    let object = case.must_get("configmaps", "job-x7k2p").await?;
    assert_eq!(object["metadata"]["generateName"], Value::Null);
    Ok(())
}
