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
async fn case_15_schemas_of_the_old_version_are_made_structural() -> Result<()> {
    let case = Case::new(15).await?;
    // A group of Kubernetes' own, for which nobody had to approve yet; schemas as `v1beta1` took them.
    case.restore(
        "
apiVersion: apiextensions.k8s.io/v1beta1
kind: CustomResourceDefinition
metadata: {name: animals.NAME.k8s.io}
spec:
  group: NAME.k8s.io
  version: v1
  names: {plural: animals, kind: Animal}
  validation:
    openAPIV3Schema:
      additionalProperties: true
      properties:
        apiVersion: {type: string, description: d}
        metadata: {properties: {name: {type: string, maxLength: 63}}}
        spec:
          properties:
            cage: {anyOf: [{type: string}, {type: integer}]}
            gate: {oneOf: [{type: integer}, {type: string}], description: d}
            food: {anyOf: [{type: object}, {type: array, items: {type: string}}]}
            legs: {type: number, allOf: [{type: number, title: t, minimum: 0}]}
            den:
              oneOf:
              - {required: [size], properties: {size: {type: integer}}}
              - {type: object, required: [name], properties: {name: {minLength: 1}}, additionalProperties: false}
            nest:
              type: object
              properties: {size: {type: integer}}
              anyOf: [{required: [size]}, {properties: {kind: {enum: [a]}}}]
              not: {properties: {metadata: {required: [name]}}}
            misc: {type: any}
            tail: {not: {type: string}}
---
apiVersion: NAME.k8s.io/v1
kind: Animal
metadata: {name: simba, namespace: NAME}
spec:
  cage: 80%
  gate: 8080
  food: [a]
  legs: 4
  den: {size: 3}
  nest: {size: 3, kind: b, deep: {er: 1}}
  misc: {a: [1]}
  tail: 3
",
    )
    .await?;
    let of = format!("animals.{}.k8s.io", case.name);
    let simba = case.must_get(&of, "simba").await?;
    let expected = serde_json::json!({
        "cage": "80%", "gate": 8080, "food": ["a"], "legs": 4, "den": {"size": 3},
        "nest": {"size": 3, "kind": "b", "deep": {"er": 1}}, "misc": {"a": [1]}, "tail": 3,
    });
    assert_eq!(simba["spec"], expected);
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

#[allow(clippy::too_many_lines, reason = "one story, told in order")]
#[tokio::test]
async fn case_15_objects_of_old_versions_are_converted() -> Result<()> {
    let case = Case::new(15).await?;
    let template =
        "{metadata: {labels: {app: web}}, spec: {containers: [{name: main, image: pause}]}}";
    let outcome = case
        .restore(&format!(
            "
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {{name: early, namespace: NAME}}
spec: {{replicas: 0, template: {template}, rollbackTo: {{revision: 1}}}}
---
apiVersion: apps/v1beta1
kind: StatefulSet
metadata: {{name: set, namespace: NAME}}
spec: {{replicas: 0, serviceName: set, template: {template}}}
---
apiVersion: extensions/v1beta1
kind: DaemonSet
metadata: {{name: each, namespace: NAME}}
spec: {{template: {template}, templateGeneration: 2}}
---
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {{name: web, namespace: NAME, annotations: {{kubernetes.io/ingress.class: nginx}}}}
spec:
  rules:
  - host: example.org
    http: {{paths: [{{path: /a, backend: {{serviceName: web, servicePort: http}}}}, {{backend: {{serviceName: b, servicePort: 80}}}}]}}
---
apiVersion: networking.k8s.io/v1beta1
kind: Ingress
metadata: {{name: later, namespace: NAME}}
spec: {{backend: {{serviceName: web, servicePort: 80}}}}
---
apiVersion: extensions/v1beta1
kind: NetworkPolicy
metadata: {{name: deny, namespace: NAME}}
spec: {{podSelector: {{}}}}
---
apiVersion: batch/v1beta1
kind: CronJob
metadata: {{name: nightly, namespace: NAME}}
spec:
  schedule: '0 0 * * *'
  suspend: true
  jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: main, image: pause}}]}}}}}}}}
---
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: {{name: none, namespace: NAME}}
spec: {{minAvailable: 1, selector: {{}}}}
---
apiVersion: rbac.authorization.k8s.io/v1alpha1
kind: RoleBinding
metadata: {{name: view, namespace: NAME}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}
subjects: [{{kind: ServiceAccount, apiVersion: v1, name: worker, namespace: NAME}}, {{kind: User, name: jane}}]
---
apiVersion: autoscaling/v2beta1
kind: HorizontalPodAutoscaler
metadata: {{name: scale, namespace: NAME}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: early}}
  maxReplicas: 3
  metrics:
  - {{type: Resource, resource: {{name: cpu, targetAverageUtilization: 80}}}}
  - type: Object
    object:
      metricName: requests
      target: {{apiVersion: networking.k8s.io/v1, kind: Ingress, name: web}}
      targetValue: '0'
      averageValue: '10'
---
apiVersion: admissionregistration.k8s.io/v1beta1
kind: ValidatingWebhookConfiguration
metadata: {{name: NAME}}
webhooks:
- name: no.example.org
  clientConfig: {{service: {{name: gone, namespace: NAME}}}}
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: NAME}}}}
  rules: [{{apiGroups: [''], apiVersions: [v1], resources: [secrets], operations: [CREATE]}}]
"
        ))
        .await?;
    assert_eq!(outcome.counts.create, 12, "with the namespace");
    let early = case.must_get("deployments.apps", "early").await?;
    assert_eq!(early["spec"]["selector"]["matchLabels"]["app"], "web");
    assert_eq!(early["spec"]["revisionHistoryLimit"], i32::MAX);
    let set = case.must_get("statefulsets.apps", "set").await?;
    assert_eq!(set["spec"]["updateStrategy"]["type"], "OnDelete");
    let each = case.must_get("daemonsets.apps", "each").await?;
    assert_eq!(each["spec"]["updateStrategy"]["type"], "OnDelete");
    let web = case.must_get("ingresses.networking.k8s.io", "web").await?;
    let paths = &web["spec"]["rules"][0]["http"]["paths"];
    assert_eq!(paths[0]["backend"]["service"]["port"]["name"], "http");
    assert_eq!(paths[1]["backend"]["service"]["port"]["number"], 80);
    // To some controllers `/` would be something else.
    assert_eq!(paths[1]["path"], Value::Null);
    let later = case
        .must_get("ingresses.networking.k8s.io", "later")
        .await?;
    assert_eq!(later["spec"]["defaultBackend"]["service"]["name"], "web");
    case.must_get("networkpolicies.networking.k8s.io", "deny")
        .await?;
    case.must_get("cronjobs.batch", "nightly").await?;
    let none = case.must_get("poddisruptionbudgets.policy", "none").await?;
    assert_eq!(
        *at(&none, "/spec/selector"),
        Value::Null,
        "it chose nothing"
    );
    let view = case
        .must_get("rolebindings.rbac.authorization.k8s.io", "view")
        .await?;
    assert_eq!(view["subjects"][1]["apiGroup"], "rbac.authorization.k8s.io");
    let scale = case
        .must_get("horizontalpodautoscalers.autoscaling", "scale")
        .await?;
    assert_eq!(
        scale["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        80
    );
    assert_eq!(
        scale["spec"]["metrics"][1]["object"]["target"],
        serde_json::json!({"type": "AverageValue", "averageValue": "10"})
    );
    let webhooks = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    let configuration = case.must_get_global(webhooks, &case.name).await?;
    assert_eq!(configuration["webhooks"][0]["failurePolicy"], "Ignore");
    assert_eq!(configuration["webhooks"][0]["sideEffects"], "None");
    Ok(())
}

#[tokio::test]
async fn case_16_a_type_without_successor_says_what_to_do() -> Result<()> {
    let case = Case::new(16).await?;
    let outcome = case
        .restore_as(
            "
{apiVersion: policy/v1beta1, kind: PodSecurityPolicy, metadata: {name: NAME}, spec: {}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: thing, namespace: NAME}}
",
            RestoreSpec::default(),
        )
        .await?;
    assert_said(
        &outcome,
        &["error", "podsecuritypolicies", "Pod Security admission"],
    );
    Ok(())
}

#[tokio::test]
async fn case_17_fields_that_the_target_does_not_have_are_named() -> Result<()> {
    let case = Case::new(17).await?;
    let thing = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: NAME}}, later: {{in: time}}}}\n---\n"
        )
    };
    let outcome = case
        .restore_as(&(thing("a") + &thing("b")), RestoreSpec::default())
        .await?;
    assert_said(
        &outcome,
        &["warning", "2 objects (a, b)", "has no later here"],
    );
    case.must_get("configmaps", "a").await?;
    Ok(())
}
