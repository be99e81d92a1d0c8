//! Restores that are refused for a while, and restores that are interrupted.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use ark::api::RestoreSpec;
use ark::restore::{RestoreError, RestoreOutcome};
use serde_json::{Value, json};

use crate::cases::{Case, assert_said, assert_silent};
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::webhook::{Answer, Webhook};
use crate::support::{PATIENCE, wait_until};

const THINGS: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NAME}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: NAME}}
---
{apiVersion: v1, kind: Secret, metadata: {name: c, namespace: NAME}}
";

async fn guarded(number: u32, answer: Answer) -> Result<(Case<'static>, Webhook)> {
    let mut case = Case::new(number).await?;
    case.options.refused_timeout = PATIENCE;
    case.options.unavailable_timeout = PATIENCE;
    case.make_namespace().await?;
    let webhook = Webhook::start(answer).await?;
    guard(&case, &webhook, &json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": case.name}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
    })).await?;
    case.until_refused().await?;
    Ok((case, webhook))
}

/// Has the API server ask a webhook about what `of` describes.
async fn guard(case: &Case<'_>, webhook: &Webhook, of: &Value) -> Result<()> {
    let mut configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": case.name},
        "webhooks": [{
            "name": "guard.example.org",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 1,
            "clientConfig": webhook.client_config(),
        }],
    });
    for (key, value) in of.as_object().into_iter().flatten() {
        configuration["webhooks"][0][key] = value.clone();
    }
    case.apply(&configuration.to_string()).await
}

/// Waits until the API server asks a webhook about an object: a dry run of its create is refused.
async fn until_asked(case: &Case<'_>, yaml: &str) -> Result<()> {
    let object = &case.objects(yaml)?[0];
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let root = if api_version.contains('/') {
        "apis"
    } else {
        "api"
    };
    let plural = format!("{}s", object["kind"].as_str().unwrap_or_default()).to_lowercase();
    let path = format!("/{root}/{api_version}/{plural}?dryRun=All");
    wait_until("creates are refused", PATIENCE, async || {
        let request = http::Request::post(&path)
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())?;
        Ok(case
            .client
            .request_text(request)
            .await
            .is_err()
            .then_some(()))
    })
    .await
}

/// Runs a restore, and has the webhook allow everything once it was asked so often meanwhile.
async fn restore_until_allowed(
    case: &Case<'_>,
    webhook: &Webhook,
    asked: u64,
    yaml: &str,
) -> Result<RestoreOutcome> {
    let reached = webhook.asked() + asked;
    let turn = async {
        wait_until("the webhook is asked", PATIENCE, async || {
            Ok((webhook.asked() >= reached).then_some(()))
        })
        .await?;
        webhook.set(Answer::Allow);
        anyhow::Ok(())
    };
    let (outcome, turned) = tokio::join!(case.restore_as(yaml, RestoreSpec::default()), turn);
    turned?;
    outcome
}

#[tokio::test]
async fn a_namespace_that_is_refused_for_a_while_loses_nothing() -> Result<()> {
    for answer in [Answer::Deny, Answer::Nothing] {
        let mut case = Case::new(740).await?;
        case.options.refused_timeout = PATIENCE;
        case.options.unavailable_timeout = PATIENCE;
        let webhook = Webhook::start(answer).await?;
        guard(&case, &webhook, &json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": case.name}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["namespaces"], "operations": ["CREATE"]}],
        }))
        .await?;
        until_asked(
            &case,
            "{apiVersion: v1, kind: Namespace, metadata: {name: NAME}}",
        )
        .await?;
        // More often than a request is sent before its failure counts.
        let outcome = restore_until_allowed(&case, &webhook, 4, THINGS).await?;
        assert_silent(&outcome);
        case.must_get("secrets", "c").await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_74_a_namespace_that_may_not_be_created_may_be_there() -> Result<()> {
    let case = Case::new(741).await?;
    case.make_namespace().await?;
    case.apply(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME}
rules:
- {apiGroups: [''], resources: [configmaps, secrets], verbs: ['*']}
- {apiGroups: [''], resources: [namespaces], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: NAME}]
",
    )
    .await?;
    let case = case.impersonating(&case.name).await?;
    let outcome = case.restore(THINGS).await?;
    assert_eq!((outcome.created, outcome.items), (3, 4));
    // One that is not there cannot be had.
    let elsewhere = THINGS.replace("NAME", "NAME-other");
    let Err(error) = case.restore_as(&elsewhere, RestoreSpec::default()).await else {
        anyhow::bail!("a namespace was made without the right to");
    };
    let said = format!("{error:#}");
    assert!(
        said.contains("cannot create resource \"namespaces\""),
        "{said}"
    );
    assert!(said.contains("its 3 objects are not restored"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_definition_that_is_refused_for_a_while_does_not_cost_its_objects() -> Result<()> {
    const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: animals.NAME.example.org, labels: {guarded: NAME}}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {plural: animals, kind: Animal}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
";
    let mut case = Case::new(684).await?;
    case.options.refused_timeout = PATIENCE;
    let webhook = Webhook::start(Answer::Deny).await?;
    guard(&case, &webhook, &json!({
        "objectSelector": {"matchLabels": {"guarded": case.name}},
        "rules": [{"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["v1"], "resources": ["customresourcedefinitions"],
                   "operations": ["CREATE"]}],
    }))
    .await?;
    until_asked(&case, DEFINITION).await?;
    let yaml = DEFINITION.to_owned()
        + "---
{apiVersion: NAME.example.org/v1, kind: Animal, metadata: {name: simba, namespace: NAME}}
";
    let outcome = restore_until_allowed(&case, &webhook, 2, &yaml).await?;
    assert_silent(&outcome);
    let of = format!("animals.{}.example.org", case.name);
    case.must_get(&of, "simba").await?;
    Ok(())
}

#[tokio::test]
async fn where_a_webhook_does_not_answer_most_objects_wait_untried() -> Result<()> {
    const MANY: u64 = 300;
    let (mut case, webhook) = guarded(685, Answer::Nothing).await?;
    case.options.concurrency = 4;
    case.options.unavailable_timeout = Duration::from_millis(100);
    let mut yaml = String::new();
    for n in 0..MANY {
        let _ = write!(
            yaml,
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: thing-{n}, namespace: NAME}}}}\n---\n"
        );
    }
    yaml += "{apiVersion: v1, kind: Secret, metadata: {name: c, namespace: NAME}}";
    let before = webhook.asked();
    let outcome = case.restore_as(&yaml, RestoreSpec::default()).await?;
    let asked = webhook.asked() - before;
    // Each once would be so many; what is in flight is tried twice.
    assert!(asked < MANY / 4, "it was asked {asked} times");
    assert_eq!(
        (outcome.counts.create, outcome.counts.conflict),
        (1, MANY),
        "{:?}",
        outcome.results
    );
    // Those that were tried, and those that were not, with what the others met.
    let errors = &outcome.results.errors.namespaces[&case.name];
    assert_eq!(errors.len(), 2, "{errors:?}");
    for line in errors {
        assert!(line.contains("failed calling webhook"), "{line}");
    }

    // When it answers again one object shows it, and the rest follows.
    case.options.unavailable_timeout = PATIENCE;
    let outcome = restore_until_allowed(&case, &webhook, 10, &yaml).await?;
    assert_silent(&outcome);
    assert_eq!(outcome.counts.create, MANY);
    Ok(())
}

#[tokio::test]
async fn a_webhook_denies_then_says_nothing_then_recovers() -> Result<()> {
    let (case, webhook) = guarded(680, Answer::Deny).await?;
    let before = webhook.asked();
    let turns = async {
        let asked = async |more: u64| {
            let reached = before + more;
            wait_until("the webhook is asked", PATIENCE, async || {
                Ok((webhook.asked() >= reached).then_some(()))
            })
            .await
        };
        asked(2).await?;
        webhook.set(Answer::Nothing);
        let silent = webhook.asked() - before;
        asked(silent + 2).await?;
        webhook.set(Answer::Allow);
        anyhow::Ok(())
    };
    let (outcome, turned) = tokio::join!(case.restore_as(THINGS, RestoreSpec::default()), turns);
    turned?;
    let outcome = outcome?;
    assert_silent(&outcome);
    assert_eq!(outcome.counts.conflict, 0);
    for name in ["a", "b"] {
        case.must_get("configmaps", name).await?;
    }
    case.must_get("secrets", "c").await?;
    Ok(())
}

#[tokio::test]
async fn a_webhook_that_goes_on_to_deny_is_an_error_of_what_it_denies() -> Result<()> {
    let (mut case, webhook) = guarded(681, Answer::Deny).await?;
    case.options.refused_timeout = Duration::from_millis(100);
    let before = webhook.asked();
    let outcome = case.restore_as(THINGS, RestoreSpec::default()).await?;
    // One line for both, with what the webhook said.
    assert_said(
        &outcome,
        &["error", "configmaps: 2 objects (a, b)", "not now"],
    );
    assert_eq!((outcome.counts.create, outcome.counts.conflict), (1, 2));
    assert!(webhook.asked() - before > 2, "they were tried again");
    case.must_get("secrets", "c").await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_asks_for_patience_slows_a_restore_and_fails_nothing() -> Result<()> {
    // One write at a time: what comes beside it is refused with 429 and Retry-After.
    let options = Options::default()
        .api_server_flag("--enable-priority-and-fairness=false")
        .api_server_flag("--max-mutating-requests-inflight=1");
    let plane = ControlPlane::start(options).await?;
    let case = Case::on(&plane, 683).await?;
    // The members of system:masters are never asked.
    case.apply(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: NAME}]
",
    )
    .await?;
    let case = case.impersonating(&case.name).await?;
    let mut yaml = String::new();
    for n in 0..200 {
        let _ = write!(
            yaml,
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: thing-{n}, namespace: NAME}}}}\n---\n"
        );
    }
    let before = refused_for_now(&case.client).await?;
    let outcome = case.restore(&yaml).await?;
    // With the namespace.
    assert_eq!((outcome.created, outcome.items), (201, 201));
    assert!(
        refused_for_now(&case.client).await? > before,
        "the server did ask for patience"
    );
    Ok(())
}

/// Returns how many creates of ConfigMaps the API server has answered with 429.
async fn refused_for_now(client: &kube::Client) -> Result<f64> {
    let metrics = client
        .request_text(http::Request::get("/metrics").body(Vec::new())?)
        .await?;
    metrics
        .lines()
        .filter(|line| {
            line.starts_with("apiserver_request_total{")
                && ["code=\"429\"", "resource=\"configmaps\"", "verb=\"POST\""]
                    .iter()
                    .all(|label| line.contains(label))
        })
        .map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?))
        .sum()
}

#[tokio::test]
async fn a_restore_that_is_interrupted_anywhere_ends_in_the_same_objects() -> Result<()> {
    const MANY: usize = 120;
    let case = Case::new(682).await?;
    let mut yaml = String::from(
        "{apiVersion: v1, kind: Secret, metadata: {name: owner, namespace: NAME, uid: u-owner}}\n---\n",
    );
    for n in 0..MANY {
        let _ = write!(
            yaml,
            "
apiVersion: v1
kind: ConfigMap
metadata:
  name: thing-{n:03}
  namespace: NAME
  uid: u-{n}
  ownerReferences: [{{apiVersion: v1, kind: Secret, name: owner, uid: u-owner}}]
---
"
        );
    }
    case.store("many", &yaml).await?;
    let seed = uuid::Uuid::new_v4().as_u128();
    println!("seed {seed}");
    let mut points: Vec<u64> = (0..4)
        .map(|n| u64::try_from((seed >> (n * 16)) % (MANY as u128)).unwrap_or_default())
        .collect();
    points.sort_unstable();
    // The first is well before the end, so that it is met.
    points[0] %= 60;
    let mut cut = 0;
    for point in points {
        match case.run_until("many", "interrupted", point).await {
            Err(RestoreError::Cancelled) => cut += 1,
            // It was through before it could be stopped.
            other => {
                other?;
            }
        }
    }
    assert!(cut > 0, "none of the runs was interrupted");
    let outcome = case
        .run("many", "interrupted", RestoreSpec::default())
        .await?;
    assert_silent(&outcome);
    let owner = case.must_get("secrets", "owner").await?;
    for n in 0..MANY {
        let thing = case
            .must_get("configmaps", &format!("thing-{n:03}"))
            .await?;
        let references = &thing["metadata"]["ownerReferences"];
        assert_eq!(
            references[0]["uid"], owner["metadata"]["uid"],
            "thing-{n:03}"
        );
        assert_eq!(references.as_array().map(Vec::len), Some(1));
    }
    Ok(())
}
