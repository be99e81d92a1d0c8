//! What is there already is looked for in bulk, not object by object.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use anyhow::Result;
use ark::api::RestoreSpec;

use crate::cases::{Case, assert_silent};

#[tokio::test]
async fn a_few_objects_in_each_of_many_namespaces_are_looked_for_together() -> Result<()> {
    const NAMESPACES: u64 = 8;
    const EACH: u64 = 5;
    let case = Case::new(690).await?;
    // Of a type of their own, so that nothing else is listed with them.
    let mut yaml = String::from(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: animals.NAME.example.org}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {plural: animals, kind: Animal}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
---
",
    );
    for namespace in 0..NAMESPACES {
        for n in 0..EACH {
            let _ = write!(
                yaml,
                "{{apiVersion: NAME.example.org/v1, kind: Animal, metadata: {{name: a-{n}, namespace: NAME-{namespace}}}}}\n\
                 ---\n"
            );
        }
    }
    case.store("animals", &yaml).await?;
    let first = case
        .run("animals", "restore", RestoreSpec::default())
        .await?;
    assert_silent(&first);
    assert_eq!(first.created, NAMESPACES * EACH + NAMESPACES + 1);
    let requests = || case.cluster.stats().requests.load(Ordering::Relaxed);
    let before = requests();
    let second = case
        .run("animals", "restore", RestoreSpec::default())
        .await?;
    let sent = requests() - before;
    assert_silent(&second);
    assert_eq!((second.created, second.existing), (0, first.created));
    // Two for each namespace and a few for the definition; one for each object would be more.
    assert!(
        sent < 2 * NAMESPACES + NAMESPACES * EACH / 2,
        "{sent} requests"
    );
    Ok(())
}
