//! Case 84: owners.

use ark::api::RestoreSpec;

use super::*;

const FAMILY: &str = "
apiVersion: v1
kind: Secret
metadata:
  name: cub
  namespace: NAME
  uid: u-cub
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: lion, uid: u-lion, controller: true, blockOwnerDeletion: true}]
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: flea
  namespace: NAME
  ownerReferences: [{apiVersion: v1, kind: Secret, name: cub, uid: u-cub}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: lion, namespace: NAME, uid: u-lion}}
";

#[tokio::test]
async fn case_84_objects_belong_to_their_restored_owners() -> Result<()> {
    let case = Case::new(84).await?;
    case.restore(FAMILY).await?;
    let lion = case.must_get("configmaps", "lion").await?;
    let cub = case.must_get("secrets", "cub").await?;
    let flea = case.must_get("serviceaccounts", "flea").await?;
    let owner = &cub["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], lion["metadata"]["uid"]);
    assert_eq!(owner["controller"], true);
    assert_eq!(owner["blockOwnerDeletion"], true);
    assert_eq!(
        flea["metadata"]["ownerReferences"][0]["uid"],
        cub["metadata"]["uid"]
    );

    // Once more: nothing differs, and nobody loses an owner.
    case.restore(FAMILY).await?;
    let again = case.must_get("secrets", "cub").await?;
    assert_eq!(
        again["metadata"]["ownerReferences"],
        cub["metadata"]["ownerReferences"]
    );
    Ok(())
}

#[tokio::test]
async fn case_84_an_owner_that_is_absent_is_dropped_with_a_note() -> Result<()> {
    let case = Case::new(84).await?;
    let outcome = case
        .restore_as(
            "
apiVersion: v1
kind: Secret
metadata:
  name: cub
  namespace: NAME
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: lion, uid: u-lion, controller: true}]
",
            RestoreSpec::default(),
        )
        .await?;
    assert_said(&outcome, &["warning", "cub", "owner"]);
    let cub = case.must_get("secrets", "cub").await?;
    assert_eq!(*at(&cub, "/metadata/ownerReferences"), Value::Null);
    Ok(())
}
