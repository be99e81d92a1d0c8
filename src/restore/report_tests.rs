use super::*;

#[test]
fn counts_sorts_and_sums_up() {
    let (progress, seen) = watch::channel(Progress::default());
    let report = Report::new(Results::default(), 4, &progress);
    for outcome in [Outcome::Created, Outcome::There, Outcome::LeftOut] {
        report.done(outcome);
    }
    report.fail(Some("n"), "b");
    report.fail(Some("n"), "a");
    report.emptied("n", "db");
    assert_eq!(report.left(), 1);
    assert_eq!(
        (seen.borrow().items_done, seen.borrow().total_items),
        (3, 4)
    );
    let finished = report.finish();
    assert_eq!(
        (finished.items, finished.created, finished.there),
        (3, 1, 1)
    );
    assert_eq!(finished.results.errors.namespaces["n"], ["a", "b"]);
    assert_eq!((finished.counts.create, finished.counts.skip), (1, 2));
    assert!(finished.results.warnings.ark[0].starts_with("persistentvolumeclaims n/db:"));
}

#[test]
fn the_same_about_many_is_one_line() {
    let (progress, _seen) = watch::channel(Progress::default());
    let report = Report::new(Results::default(), 4, &progress);
    for name in ["b", "a", "c"] {
        report.differs(Some("n"), "configmaps", name, &["data.x"], "left as it is");
        let refusal = format!("configmaps \"{name}\" is forbidden");
        report.fail_object(Some("n"), "configmaps", name, &refusal);
        report.orphan(Some("n"), "Lion simba", "configmaps", name);
    }
    report.differs(Some("n"), "configmaps", "d", &["data.y"], "left as it is");
    let results = report.finish().results;
    assert_eq!(
        results.warnings.namespaces["n"],
        [
            "configmaps d: there already, differing in data.y; left as it is",
            "configmaps: 3 objects (a, b, c): there already, differing in data.x; left as it is",
        ]
    );
    assert_eq!(
        results.errors.namespaces["n"],
        ["configmaps: 3 objects (a, b, c): configmaps it is forbidden"]
    );
    assert_eq!(results.warnings.ark.len(), 1);
}

#[test]
fn many_names_are_counted() {
    assert_eq!(list_names(&["a", "b"]), "a, b");
    assert_eq!(list_names(&["a"; 7]), "a, a, a, a, a and 2 more");
}
