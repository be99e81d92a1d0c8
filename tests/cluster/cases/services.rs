//! Cases 35 to 43: Services, Endpoints and slices of them.

use ark::api::RestoreSpec;
use serde_json::json;

use super::*;

/// Returns a node port that no other test uses.
fn node_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(32_500);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[tokio::test]
async fn case_35_addresses_are_given_anew_but_headless_stays() -> Result<()> {
    let case = Case::new(35).await?;
    case.restore(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAME}
spec: {clusterIP: 10.99.0.1, clusterIPs: [10.99.0.1], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: NAME}
spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 80}]}
",
    )
    .await?;
    let web = case.must_get("services", "web").await?;
    let address = web["spec"]["clusterIP"].as_str().context("an address")?;
    assert!(address.starts_with("10.96."), "{address}");
    let headless = case.must_get("services", "headless").await?;
    assert_eq!(headless["spec"]["clusterIP"], "None");
    Ok(())
}

#[tokio::test]
async fn case_36_an_external_name_is_untouched() -> Result<()> {
    let case = Case::new(36).await?;
    case.restore(
        "
apiVersion: v1
kind: Service
metadata: {name: away, namespace: NAME}
spec: {type: ExternalName, externalName: db.example.org}
",
    )
    .await?;
    let away = case.must_get("services", "away").await?;
    assert_eq!(away["spec"]["externalName"], "db.example.org");
    assert_eq!(*at(&away, "/spec/clusterIP"), Value::Null);
    Ok(())
}

#[tokio::test]
async fn case_37_a_node_port_that_nobody_asked_for_is_given_anew() -> Result<()> {
    let case = Case::new(37).await?;
    let port = node_port();
    case.restore(&format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: NAME}}
spec: {{type: NodePort, ports: [{{port: 80, nodePort: {port}}}]}}
"
    ))
    .await?;
    let web = case.must_get("services", "web").await?;
    let given = &web["spec"]["ports"][0]["nodePort"];
    assert!(given.is_number() && *given != port, "{given}");
    Ok(())
}

#[tokio::test]
async fn case_38_a_node_port_that_somebody_asked_for_is_kept() -> Result<()> {
    let case = Case::new(38).await?;
    let ports: Vec<u16> = (0..5).map(|_| node_port()).collect();
    let [named, float, text, managed, other] = ports[..] else {
        bail!("five ports")
    };
    let applied = json!({"spec": {"ports": [
        {"name": "named", "port": 1, "nodePort": named},
        {"name": "float", "port": 2, "nodePort": f64::from(float)},
        {"name": "text", "port": 3, "nodePort": text.to_string()},
        {"name": "other", "port": 5},
    ]}});
    let applied = applied.to_string();
    case.restore(&format!(
        "
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: NAME
  annotations: {{kubectl.kubernetes.io/last-applied-configuration: '{applied}'}}
  managedFields:
  - manager: somebody
    operation: Update
    apiVersion: v1
    fieldsType: FieldsV1
    fieldsV1: {{'f:spec': {{'f:ports': {{'k:{{\"port\":4,\"protocol\":\"TCP\"}}': {{'f:nodePort': {{}}}}}}}}}}
spec:
  type: NodePort
  ports:
  - {{name: named, port: 1, nodePort: {named}}}
  - {{name: float, port: 2, nodePort: {float}}}
  - {{name: text, port: 3, nodePort: {text}}}
  - {{name: managed, port: 4, nodePort: {managed}}}
  - {{name: other, port: 5, nodePort: {other}}}
"
    ))
    .await?;
    let web = case.must_get("services", "web").await?;
    for (at, kept) in [named, float, text, managed].into_iter().enumerate() {
        assert_eq!(web["spec"]["ports"][at]["nodePort"], kept, "{at}");
    }
    assert_ne!(web["spec"]["ports"][4]["nodePort"], other);
    Ok(())
}

#[tokio::test]
async fn case_39_all_node_ports_are_kept_on_demand() -> Result<()> {
    let case = Case::new(39).await?;
    let port = node_port();
    let outcome = case
        .restore_as(
            &format!(
                "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: NAME}}
spec: {{type: NodePort, ports: [{{port: 80, nodePort: {port}}}]}}
"
            ),
            RestoreSpec {
                preserve_node_ports: Some(true),
                ..RestoreSpec::default()
            },
        )
        .await?;
    assert_silent(&outcome);
    let web = case.must_get("services", "web").await?;
    assert_eq!(web["spec"]["ports"][0]["nodePort"], port);
    Ok(())
}

#[tokio::test]
async fn case_40_a_health_check_port_is_kept_only_if_asked_for() -> Result<()> {
    let case = Case::new(40).await?;
    let (free, asked, preserved) = (node_port(), node_port(), node_port());
    let service = |name: &str, port: u16, metadata: &str| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: NAME{metadata}}}
spec: {{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: {port}, ports: [{{port: 80}}]}}
---
"
        )
    };
    let applied = format!(
        ", annotations: {{kubectl.kubernetes.io/last-applied-configuration: \
         '{{\"spec\":{{\"healthCheckNodePort\":{asked}}}}}'}}"
    );
    case.restore(&(service("free", free, "") + &service("asked", asked, &applied)))
        .await?;
    let found = case.must_get("services", "free").await?;
    assert_ne!(found["spec"]["healthCheckNodePort"], free);
    let found = case.must_get("services", "asked").await?;
    assert_eq!(found["spec"]["healthCheckNodePort"], asked);
    let all = RestoreSpec {
        preserve_node_ports: Some(true),
        ..RestoreSpec::default()
    };
    assert_silent(
        &case
            .restore_as(&service("preserved", preserved, ""), all)
            .await?,
    );
    let found = case.must_get("services", "preserved").await?;
    assert_eq!(found["spec"]["healthCheckNodePort"], preserved);
    Ok(())
}

#[tokio::test]
async fn case_41_a_port_in_use_is_fine_if_the_service_itself_uses_it() -> Result<()> {
    let case = Case::new(41).await?;
    case.make_namespace().await?;
    let (own, taken) = (node_port(), node_port());
    let service = |name: &str, port: u16| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: NAME}}
spec: {{type: NodePort, ports: [{{port: 80, nodePort: {port}}}]}}
---
"
        )
    };
    case.apply(&(service("own", own) + &service("holder", taken)))
        .await?;
    let outcome = case
        .restore_as(
            &(service("own", own) + &service("late", taken)),
            RestoreSpec {
                preserve_node_ports: Some(true),
                ..RestoreSpec::default()
            },
        )
        .await?;
    assert_said(
        &outcome,
        &["error", "services", "late", &taken.to_string(), "holder"],
    );
    assert_eq!(case.get("services", "late").await?, None);
    Ok(())
}

#[tokio::test]
async fn case_42_endpoints_of_a_service_without_selector_come_back() -> Result<()> {
    let case = Case::new(42).await?;
    case.restore(
        "
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: NAME}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: outside, namespace: NAME}
subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}]
",
    )
    .await?;
    let endpoints = case.must_get("endpoints", "outside").await?;
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.0.2.1");
    Ok(())
}

#[tokio::test]
async fn case_43_slices_that_controllers_make_are_left_to_them() -> Result<()> {
    let case = Case::new(43).await?;
    let slice = |name: &str, manager: &str| {
        format!(
            "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  namespace: NAME
  labels: {{endpointslice.kubernetes.io/managed-by: {manager}, kubernetes.io/service-name: web}}
  ownerReferences: [{{apiVersion: v1, kind: Service, name: web, uid: u-web, controller: true}}]
addressType: IPv4
endpoints: [{{addresses: [192.0.2.1]}}]
ports: [{{port: 80}}]
---
"
        )
    };
    case.restore(
        &(slice("made", "endpointslice-controller.k8s.io")
            + &slice("mirrored", "endpointslicemirroring-controller.k8s.io")
            + &slice("mine", "staff")
            + "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAME, uid: u-web}
spec: {ports: [{port: 80}]}
"),
    )
    .await?;
    let of = "endpointslices.discovery.k8s.io";
    assert_eq!(case.get(of, "made").await?, None);
    assert_eq!(case.get(of, "mirrored").await?, None);
    case.must_get(of, "mine").await?;
    Ok(())
}
