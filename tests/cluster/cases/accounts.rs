//! Cases 44 to 47: service accounts and their tokens.

use ark::api::RestoreSpec;
use serde_json::json;

use super::*;

#[tokio::test]
async fn case_44_references_to_old_tokens_are_dropped() -> Result<()> {
    let case = Case::new(44).await?;
    case.restore(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {name: worker, namespace: NAME}
secrets: [{name: worker-token-x2k4b}, {name: worker-mine}]
",
    )
    .await?;
    let worker = case.must_get("serviceaccounts", "worker").await?;
    assert_eq!(worker["secrets"], json!([{"name": "worker-mine"}]));
    Ok(())
}

#[tokio::test]
async fn case_45_an_account_that_is_there_gets_what_it_lacks() -> Result<()> {
    let case = Case::new(45).await?;
    case.make_namespace().await?;
    case.apply(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {name: worker, namespace: NAME, labels: {a: here}}
secrets: [{name: here}]
imagePullSecrets: [{name: both}]
",
    )
    .await?;
    case.restore(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {name: worker, namespace: NAME, labels: {a: stored, b: stored}, annotations: {c: stored}}
secrets: [{name: stored}]
imagePullSecrets: [{name: both}, {name: registry}]
",
    )
    .await?;
    let worker = case.must_get("serviceaccounts", "worker").await?;
    assert_eq!(
        worker["metadata"]["labels"],
        json!({"a": "here", "b": "stored"})
    );
    assert_eq!(worker["metadata"]["annotations"], json!({"c": "stored"}));
    assert_eq!(
        worker["secrets"],
        json!([{"name": "here"}, {"name": "stored"}])
    );
    assert_eq!(
        worker["imagePullSecrets"],
        json!([{"name": "both"}, {"name": "registry"}])
    );
    Ok(())
}

#[tokio::test]
async fn case_45_an_account_that_differs_otherwise_gets_it_too() -> Result<()> {
    let case = Case::new(45).await?;
    // The namespace's own account is there before the stored one, and becomes it.
    let yaml = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: NAME}
automountServiceAccountToken: false
imagePullSecrets: [{name: registry}]
";
    let account = async || case.must_get("serviceaccounts", "default").await;
    case.restore(yaml).await?;
    assert_eq!(account().await?["automountServiceAccountToken"], false);
    assert_eq!(
        account().await?["imagePullSecrets"],
        json!([{"name": "registry"}])
    );

    let other = yaml.replace("false", "true").replace("registry", "another");
    case.store("other", &other).await?;
    let outcome = case.run("other", "other", RestoreSpec::default()).await?;
    assert_said(&outcome, &["warning", "automountServiceAccountToken"]);
    assert_eq!(account().await?["automountServiceAccountToken"], false);
    assert_eq!(
        account().await?["imagePullSecrets"],
        json!([{"name": "registry"}, {"name": "another"}])
    );
    Ok(())
}

const TOKENS: &str = "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: worker, namespace: NAME}}
---
apiVersion: v1
kind: Secret
metadata:
  name: worker-token-x2k4b
  namespace: NAME
  annotations: {kubernetes.io/service-account.name: worker, kubernetes.io/service-account.uid: u-old}
type: kubernetes.io/service-account-token
data: {token: b2xk, ca.crt: b2xk, namespace: b2xk}
---
apiVersion: v1
kind: Secret
metadata:
  name: mine
  namespace: NAME
  annotations: {kubernetes.io/service-account.name: worker, kubernetes.io/service-account.uid: u-old}
type: kubernetes.io/service-account-token
data: {token: b2xk, ca.crt: b2xk, namespace: b2xk, extra: a2VwdA==}
";

#[tokio::test]
async fn case_46_tokens_that_were_made_by_the_cluster_are_left_out() -> Result<()> {
    let case = Case::new(46).await?;
    case.restore(TOKENS).await?;
    assert_eq!(case.get("secrets", "worker-token-x2k4b").await?, None);
    Ok(())
}

#[tokio::test]
async fn case_47_a_token_that_somebody_asked_for_is_filled_anew() -> Result<()> {
    let case = Case::new(47).await?;
    case.restore(TOKENS).await?;
    let account = case.must_get("serviceaccounts", "worker").await?;
    let mine = crate::support::wait_until("the token is filled", PATIENCE, async || {
        let mine = case.must_get("secrets", "mine").await?;
        Ok(mine["data"]["token"].is_string().then_some(mine))
    })
    .await?;
    assert_ne!(mine["data"]["token"], "b2xk");
    assert_ne!(mine["data"]["ca.crt"], "b2xk");
    assert_eq!(mine["data"]["extra"], "a2VwdA==");
    assert_eq!(
        mine["metadata"]["annotations"]["kubernetes.io/service-account.uid"],
        account["metadata"]["uid"]
    );
    Ok(())
}
