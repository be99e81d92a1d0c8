//! Cases 66 to 68: aggregated APIs and webhooks.

use super::*;

#[tokio::test]
async fn case_66_api_services_that_the_server_makes_are_left_out() -> Result<()> {
    let case = Case::new(66).await?;
    let name = format!("v1.{}.example.org", case.name);
    case.restore(
        "
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.NAME.example.org, labels: {kube-aggregator.kubernetes.io/automanaged: 'true'}}
spec: {group: NAME.example.org, version: v1, groupPriorityMinimum: 100, versionPriority: 100}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
",
    )
    .await?;
    assert_eq!(
        case.get_global("apiservices.apiregistration.k8s.io", &name)
            .await?,
        None
    );
    Ok(())
}

const CONFIGURATION: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NAME}
webhooks:
- name: no.example.org
  admissionReviewVersions: [v1]
  sideEffects: EFFECTS
  failurePolicy: Fail
  timeoutSeconds: 1
  clientConfig: {service: {name: gone, namespace: NAME}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAME}}
  rules: [{apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
";

#[tokio::test]
async fn case_67_webhooks_without_known_side_effects_are_declared_to_have_none() -> Result<()> {
    let case = Case::new(67).await?;
    case.restore(&CONFIGURATION.replace("EFFECTS", "Unknown"))
        .await?;
    let of = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    let made = case.must_get_global(of, &case.name).await?;
    assert_eq!(made["webhooks"][0]["sideEffects"], "None");
    Ok(())
}

#[tokio::test]
async fn case_68_webhooks_come_after_what_they_would_refuse() -> Result<()> {
    let case = Case::new(68).await?;
    // Nobody answers for it: whatever comes after it into this namespace is refused.
    case.restore(&CONFIGURATION.replace("EFFECTS", "None"))
        .await?;
    case.must_get("configmaps", "thing").await?;
    let refused = case
        .apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: late, namespace: NAME}}")
        .await;
    assert!(refused.is_err(), "the webhook is in force");
    Ok(())
}
