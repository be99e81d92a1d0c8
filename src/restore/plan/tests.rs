use super::*;
use crate::cluster::FailedGroup;
use crate::restore::testing::{api_type, entry};

fn zoo() -> Vec<IndexEntry> {
    vec![
        entry(
            "customresourcedefinitions.apiextensions.k8s.io",
            "",
            "animals.zoo.example.org",
        ),
        entry("namespaces", "", "zoo"),
        entry("namespaces", "", "empty"),
        entry("persistentvolumes", "", "kept"),
        entry("persistentvolumes", "", "lost"),
        entry("persistentvolumeclaims", "zoo", "kept"),
        entry("persistentvolumeclaims", "zoo", "lost"),
        entry("pods", "zoo", "a"),
        entry("services", "zoo", "a"),
        entry("animals.zoo.example.org", "zoo", "simba"),
        entry("deployments.apps", "zoo", "a"),
        entry("leases.coordination.k8s.io", "zoo", "lock"),
        entry("lions.example.org", "zoo", "x"),
        entry("lions.example.org", "zoo", "y"),
        entry("clusterroles.rbac.authorization.k8s.io", "", "viewer"),
    ]
}

fn target() -> Discovery {
    Discovery::from_types(
        vec![
            api_type("namespaces", false),
            api_type("persistentvolumes", false),
            api_type("persistentvolumeclaims", true),
            api_type("pods", true),
            api_type("services", true),
            api_type("deployments.apps", true),
            api_type("leases.coordination.k8s.io", true),
            api_type("customresourcedefinitions.apiextensions.k8s.io", false),
            api_type("clusterroles.rbac.authorization.k8s.io", false),
        ],
        Vec::new(),
    )
}

fn volumes() -> Vec<Volume> {
    let volume = |name: &str, deleted_with_claim| Volume {
        name: name.into(),
        deleted_with_claim,
        labels: BTreeMap::new(),
        claim: Some(("zoo".into(), name.into())),
    };
    vec![volume("kept", false), volume("lost", true)]
}

fn run(entries: &[IndexEntry], spec: RestoreSpec) -> Result<RestorePlan, Vec<String>> {
    let spec = RestoreSpec {
        backup_name: "b".into(),
        ..spec
    };
    plan(&Facts {
        entries,
        volumes: &volumes(),
        needed: &HashSet::new(),
        spec: &spec,
        target: &target(),
        ways: &BTreeMap::new(),
        priorities: &[],
    })
}

/// Returns the types and names of each wave.
fn names(plan: &RestorePlan, entries: &[IndexEntry]) -> Vec<String> {
    plan.waves
        .iter()
        .map(|wave| {
            wave.iter()
                .map(|step| {
                    let entry = &entries[step.entry];
                    format!("{}/{}", entry.type_key.resource, entry.name)
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn everything_in_waves_with_a_line_for_each_type_that_is_not_served() {
    let entries = zoo();
    let plan = run(&entries, RestoreSpec::default()).unwrap();
    assert_eq!(
        names(&plan, &entries),
        [
            "customresourcedefinitions/animals.zoo.example.org",
            "persistentvolumes/kept clusterroles/viewer",
            "persistentvolumeclaims/kept persistentvolumeclaims/lost",
            "pods/a",
            "services/a",
            "animals/simba deployments/a",
        ]
    );
    assert!(plan.has_definitions);
    assert_eq!(
        plan.results.errors.ark.len(),
        1,
        "case 16: {:?}",
        plan.results
    );
    assert!(plan.results.errors.ark[0].starts_with("lions.example.org: 2 objects in version v1"));
    assert!(plan.provisioned_anew.contains("lost"), "case 56");
    assert_eq!(plan.left_out.len(), 1);
    let namespaces: Vec<(&str, u64)> = plan
        .namespaces
        .iter()
        .map(|one| (one.target.as_str(), one.items))
        .collect();
    assert_eq!(namespaces, [("empty", 0), ("zoo", 6)]);
    assert_eq!(plan.items(), 2 + 9);
}

#[test]
fn cluster_scope_follows_the_flag_and_the_namespace_filter() {
    let entries = zoo();
    for (include, waves) in [
        (
            None,
            &[
                "customresourcedefinitions/animals.zoo.example.org",
                "persistentvolumes/kept",
                "persistentvolumeclaims/kept persistentvolumeclaims/lost",
            ][..],
        ),
        (
            Some(false),
            &[
                "persistentvolumeclaims/kept persistentvolumeclaims/lost",
                "pods/a",
                "services/a",
            ],
        ),
        (
            Some(true),
            &[
                "customresourcedefinitions/animals.zoo.example.org",
                "persistentvolumes/kept clusterroles/viewer",
            ],
        ),
    ] {
        let plan = run(
            &entries,
            RestoreSpec {
                included_namespaces: list(&["zoo"]),
                include_cluster_resources: include,
                ..RestoreSpec::default()
            },
        )
        .unwrap();
        let names = names(&plan, &entries);
        assert_eq!(names[..waves.len()], *waves, "case 23: {include:?}");
        // Without its definition the type is not served.
        let unserved = if include == Some(false) { 2 } else { 1 };
        assert_eq!(plan.results.errors.ark.len(), unserved, "{include:?}");
        assert_eq!(plan.namespaces.len(), 1);
    }
}

#[test]
fn mapped_namespaces_are_made_of_the_original_ones() {
    let entries = zoo();
    let plan = run(
        &entries,
        RestoreSpec {
            namespace_mapping: [
                ("zoo".to_owned(), "new".to_owned()),
                ("gone".to_owned(), "x".to_owned()),
            ]
            .into(),
            ..RestoreSpec::default()
        },
    )
    .unwrap();
    assert_eq!(plan.namespaces[1].target, "new");
    assert_eq!(plan.namespaces[1].entry, Some(1), "case 18");
    assert_eq!(plan.results.warnings.ark.len(), 1, "{:?}", plan.results);
}

#[test]
fn an_object_of_two_groups_is_restored_once() {
    let mut entries = vec![
        entry("deployments.apps", "zoo", "a"),
        entry("deployments.extensions", "zoo", "a"),
    ];
    entries[1].uid = entries[0].uid.clone();
    let plan = run(&entries, RestoreSpec::default()).unwrap();
    assert_eq!(
        plan.results.errors.count(),
        0,
        "case 86: {:?}",
        plan.results
    );
    assert_eq!(names(&plan, &entries), ["deployments/a"]);
    assert_eq!(plan.namespaces[0].entry, None, "case 21");
}

#[test]
fn other_versions_and_other_scopes() {
    let key = |version: &str| TypeKey {
        group: "apps".into(),
        version: version.into(),
        kind: "Deployment".into(),
        resource: "deployments".into(),
    };
    assert_eq!(serve(&key("v1"), &target()).unwrap().api_type.version, "v1");
    assert_eq!(
        serve(&key("v1beta1"), &target()).unwrap().api_type.version,
        "v1",
        "case 17"
    );
    let moved = vec![entry("deployments.apps", "", "a")];
    let plan = run(&moved, RestoreSpec::default()).unwrap();
    assert!(
        plan.results.errors.ark[0].contains("another scope"),
        "{:?}",
        plan.results
    );
}

#[test]
fn a_selection_of_nothing_is_refused() {
    let entries = zoo();
    let selector = crate::api::selector::parse("app=none").unwrap();
    for (spec, problem) in [
        (
            RestoreSpec {
                label_selector: Some(selector.clone()),
                ..RestoreSpec::default()
            },
            "matches nothing in backup b;",
        ),
        (
            RestoreSpec {
                included_resources: list(&["leases"]),
                ..RestoreSpec::default()
            },
            "that the cluster makes itself (leases.coordination.k8s.io)",
        ),
    ] {
        let problems = run(&entries, spec).unwrap_err();
        assert!(problems[0].contains(problem), "{problems:?}");
    }
    let plan = run(
        &entries,
        RestoreSpec {
            label_selector: Some(selector),
            allow_empty: Some(true),
            ..RestoreSpec::default()
        },
    )
    .unwrap();
    assert_eq!(plan.items(), 0);
}

#[test]
fn volumes_come_back_in_the_way_that_they_can() {
    let entries = zoo();
    let lost = || Way::Lost("no provider".to_owned());
    // Of each volume whether it is restored, whether its claim gets a new one, and whether that is an empty one.
    let (as_it_was, not_at_all) = ((true, false, false), (false, false, false));
    let (filled, emptied) = ((false, true, false), (false, true, true));
    for (kept, went, empty_volumes, fate_of_kept, fate_of_went, errors) in [
        (None, None, None, as_it_was, emptied, 0),
        (None, None, Some(true), emptied, emptied, 0),
        (
            Some(Way::Volume),
            Some(Way::Volume),
            None,
            as_it_was,
            as_it_was,
            0,
        ),
        (
            Some(Way::Volume),
            Some(Way::Volume),
            Some(true),
            as_it_was,
            as_it_was,
            0,
        ),
        (Some(Way::Claim), Some(Way::Claim), None, filled, filled, 0),
        // What was lost with its claim is not made up for by an empty one.
        (Some(lost()), Some(lost()), None, as_it_was, not_at_all, 1),
        (Some(lost()), Some(lost()), Some(true), emptied, emptied, 1),
    ] {
        let spec = RestoreSpec {
            backup_name: "b".into(),
            empty_volumes,
            ..RestoreSpec::default()
        };
        let ways = [("kept", &kept), ("lost", &went)];
        let ways: BTreeMap<String, Way> = ways
            .into_iter()
            .filter_map(|(name, way)| Some((name.to_owned(), way.clone()?)))
            .collect();
        let plan = plan(&Facts {
            entries: &entries,
            volumes: &volumes(),
            needed: &HashSet::new(),
            spec: &spec,
            target: &target(),
            ways: &ways,
            priorities: &[],
        })
        .unwrap();
        let fate = |name: &str| {
            let mut steps = plan.waves.iter().flatten();
            let restored = steps.any(|step| {
                let entry = &entries[step.entry];
                entry.type_key.resource == "persistentvolumes" && &*entry.name == name
            });
            let anew = plan.provisioned_anew.contains(name);
            (restored, anew, plan.emptied.contains(name))
        };
        assert_eq!(fate("kept"), fate_of_kept, "{kept:?} {empty_volumes:?}");
        assert_eq!(fate("lost"), fate_of_went, "{went:?} {empty_volumes:?}");
        assert_eq!(plan.results.errors.cluster.len(), errors, "{kept:?}");
    }
}

#[test]
fn pods_know_whether_their_job_comes_back() {
    let mut entries = vec![
        entry("pods", "zoo", "worker"),
        entry("pods", "zoo", "other"),
        entry("jobs.batch", "zoo", "work"),
    ];
    entries[0].owners = Arc::new([entries[2].uid.to_string()]);
    let mut types = vec![api_type("pods", true)];
    types.push(api_type("jobs.batch", true));
    let spec = RestoreSpec {
        backup_name: "b".into(),
        ..RestoreSpec::default()
    };
    let plan = plan(&Facts {
        entries: &entries,
        volumes: &[],
        needed: &HashSet::new(),
        spec: &spec,
        target: &Discovery::from_types(types, Vec::new()),
        ways: &BTreeMap::new(),
        priorities: &[],
    })
    .unwrap();
    let flags: Vec<bool> = plan.waves[0].iter().map(|step| step.job_restored).collect();
    assert_eq!(flags, [true, false]);
}

#[test]
fn what_is_needed_comes_unless_the_request_keeps_it_out() {
    let mut entries = vec![
        entry("configmaps", "zoo", "asked"),
        entry("secrets", "zoo", "needed"),
        entry("storageclasses.storage.k8s.io", "", "needed"),
    ];
    entries[2].namespace = None;
    let types = vec![
        api_type("configmaps", true),
        api_type("secrets", true),
        api_type("storageclasses.storage.k8s.io", false),
    ];
    let target = Discovery::from_types(types, Vec::new());
    for (excluded, cluster_resources, restored) in [
        (&[][..], None, 3),
        (&["secrets"], None, 2),
        (&[], Some(false), 2),
    ] {
        let spec = RestoreSpec {
            backup_name: "b".into(),
            included_items: vec!["configmaps/asked".into()],
            excluded_resources: list(excluded),
            include_cluster_resources: cluster_resources,
            with_dependencies: Some(true),
            ..RestoreSpec::default()
        };
        let plan = plan(&Facts {
            entries: &entries,
            volumes: &[],
            needed: &HashSet::from([1, 2]),
            spec: &spec,
            target: &target,
            ways: &BTreeMap::new(),
            priorities: &[],
        })
        .unwrap();
        let items: usize = plan.waves.iter().map(Vec::len).sum();
        assert_eq!(items, restored, "{excluded:?} {cluster_resources:?}");
    }
}

#[test]
fn types_whose_api_may_come_up_are_kept() {
    let things = || {
        vec![
            entry("things.late.example.org", "zoo", "a"),
            entry("pods", "zoo", "a"),
        ]
    };
    let service = |name: &str| entry("apiservices.apiregistration.k8s.io", "", name);
    let stale = FailedGroup {
        group_version: "late.example.org/v1".into(),
        reason: "the API group does not answer".into(),
    };
    for (what, more, failed, kept) in [
        ("nobody knows the group", None, None, false),
        ("it does not answer", None, Some(stale), true),
        (
            "its APIService is restored",
            Some(service("v1.late.example.org")),
            None,
            true,
        ),
        (
            "that of another group is",
            Some(service("v1.example.org")),
            None,
            false,
        ),
    ] {
        let mut entries = things();
        entries.extend(more);
        let spec = RestoreSpec {
            backup_name: "b".into(),
            ..RestoreSpec::default()
        };
        let types = vec![
            api_type("pods", true),
            api_type("apiservices.apiregistration.k8s.io", false),
        ];
        let plan = plan(&Facts {
            entries: &entries,
            volumes: &[],
            needed: &HashSet::new(),
            spec: &spec,
            target: &Discovery::from_types(types, failed.into_iter().collect()),
            ways: &BTreeMap::new(),
            priorities: &[],
        })
        .unwrap();
        let late = plan.types.iter().any(|planned| planned.late);
        let steps = plan.waves.iter().flatten();
        let found = steps.filter(|step| plan.types[step.planned_type].late);
        assert_eq!((late, found.count()), (kept, usize::from(kept)), "{what}");
        assert_eq!(plan.results.errors.count(), u64::from(!kept), "{what}");
    }
}
