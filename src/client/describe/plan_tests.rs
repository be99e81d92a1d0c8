use super::*;

fn item(of: &str, namespace: &str, name: &str, action: PlanAction) -> PlanItem {
    PlanItem {
        resource: of.into(),
        namespace: namespace.into(),
        name: name.into(),
        action,
        reason: String::new(),
        unchecked: String::new(),
        differences: Vec::new(),
    }
}

#[test]
fn counts_come_first_and_details_on_demand() {
    let mut items = vec![
        item("namespaces", "", "web", PlanAction::Create),
        item("pods", "web", "a", PlanAction::Create),
        item("configmaps", "other", "same", PlanAction::Skip),
        item("configmaps", "other", "changed", PlanAction::Conflict),
    ];
    items[1].unchecked = "namespace web is made by the restore".into();
    items[2].reason = "there already, and the same".into();
    items[3].reason = "there already, and differs; it would be left as it is".into();
    items[3].differences = vec![Difference {
        path: "data.color".into(),
        backup: Some("\"red\"".into()),
        cluster: None,
    }];
    let counts = RestoreCounts {
        create: 2,
        skip: 1,
        conflict: 1,
        unchecked: 1,
        ..RestoreCounts::default()
    };
    let mut results = Results::default();
    results
        .errors
        .add_ark("ghosts.example.org: 2 objects not restored");
    insta::assert_snapshot!("brief", plan(&counts, &items, &results, false).unwrap());
    insta::assert_snapshot!("details", plan(&counts, &items, &results, true).unwrap());
}
