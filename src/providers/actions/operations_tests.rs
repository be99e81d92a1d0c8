use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::providers::actions::{BackedUpItem, Item, ItemSelector};

/// What an action says of an operation, question after question; the last answer stays.
type Answers = &'static [Result<Option<&'static str>, ActionErrorKind>];

/// Goes on.
const ON: Result<Option<&str>, ActionErrorKind> = Ok(None);
/// Ended well.
const WELL: Result<Option<&str>, ActionErrorKind> = Ok(Some(""));

/// An action whose operations fare as it is told.
#[derive(Debug)]
struct Script {
    answers: Answers,
    refuses_to_cancel: bool,
    asked: Mutex<BTreeMap<String, usize>>,
    cancelled: Mutex<Vec<String>>,
}

fn script(answers: Answers) -> Arc<Script> {
    Arc::new(Script {
        answers,
        refuses_to_cancel: false,
        asked: Mutex::default(),
        cancelled: Mutex::default(),
    })
}

#[async_trait]
impl BackupItemAction for Script {
    fn name(&self) -> &'static str {
        "test/script"
    }

    async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
        Ok(ItemSelector::default())
    }

    async fn execute(&self, _: Item<'_>, _: &RunDocument) -> Result<BackedUpItem, ActionError> {
        Ok(BackedUpItem::default())
    }

    async fn progress(
        &self,
        operation: &str,
        _: &RunDocument,
    ) -> Result<OperationProgress, ActionError> {
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(operation.to_owned()).or_default();
        let answer = self.answers[(*times).min(self.answers.len() - 1)];
        *times += 1;
        match answer {
            Ok(ended) => Ok(OperationProgress {
                completed: ended.is_some(),
                error: ended.unwrap_or_default().to_owned(),
                ..OperationProgress::default()
            }),
            Err(kind) => Err(ActionError::new(kind, "action test/script: no")),
        }
    }

    async fn cancel(&self, operation: &str, _: &RunDocument) -> Result<(), ActionError> {
        self.cancelled.lock().unwrap().push(operation.to_owned());
        if self.refuses_to_cancel {
            return Err(ActionError::new(ActionErrorKind::Other, "it will not"));
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Memory {
    list: Mutex<Vec<String>>,
    broken: bool,
}

#[async_trait]
impl Ledger<OperationNote> for Memory {
    async fn write(&self, entries: Vec<OperationNote>) -> Result<(), String> {
        if self.broken {
            return Err("the API server does not answer".to_owned());
        }
        *self.list.lock().unwrap() = entries.into_iter().map(|one| one.operation_id).collect();
        Ok(())
    }
}

fn note(id: &str) -> OperationNote {
    OperationNote {
        action: "test/script".into(),
        operation_id: id.into(),
        resource: "pods".into(),
        namespace: "n".into(),
        name: "x".into(),
    }
}

fn operations(
    script: &Arc<Script>,
    memory: &Arc<Memory>,
    earlier: Vec<OperationNote>,
) -> Operations<dyn BackupItemAction> {
    let actions: Vec<Arc<dyn BackupItemAction>> = vec![Arc::clone(script) as _];
    let document = RunDocument::of_json(Bytes::from_static(b"{}"));
    Operations::new(&actions, document, Arc::clone(memory) as _, earlier)
}

#[tokio::test]
async fn operations_are_seen_through() {
    const OTHER: Result<Option<&str>, ActionErrorKind> = Err(ActionErrorKind::Other);
    for (what, answers, limit, expected, cancelled) in [
        ("at once", &[WELL][..], 60_000, None, false),
        ("later", &[ON, ON, WELL], 60_000, None, false),
        (
            "badly",
            &[ON, Ok(Some("disk full"))],
            60_000,
            Some("disk full"),
            false,
        ),
        ("not at all", &[ON], 0, Some("not ended within"), true),
        (
            "after a silence",
            &[OTHER, ON, OTHER, WELL],
            60_000,
            None,
            false,
        ),
        (
            "in silence",
            &[OTHER],
            60_000,
            Some("cannot be found out"),
            true,
        ),
        (
            "without the ability",
            &[Err(ActionErrorKind::NotSupported)],
            60_000,
            Some("no"),
            false,
        ),
    ] {
        let (script, memory) = (script(answers), Arc::<Memory>::default());
        let operations = operations(&script, &memory, Vec::new());
        operations.take(note("1")).await.unwrap();
        assert_eq!(*memory.list.lock().unwrap(), ["1"], "{what}");
        let limit = Duration::from_millis(limit);
        let problems = operations.wait(limit, |_| {}).await;
        let problem = problems.first().map(|(_, why)| why.as_str());
        assert_eq!(problem.is_some(), expected.is_some(), "{what}: {problem:?}");
        assert!(
            problem
                .unwrap_or_default()
                .contains(expected.unwrap_or_default()),
            "{problem:?}"
        );
        assert_eq!(
            !script.cancelled.lock().unwrap().is_empty(),
            cancelled,
            "{what}"
        );
        assert_eq!(memory.list.lock().unwrap().len(), 0, "{what}");
        let counts = operations.counts();
        assert_eq!((counts.attempted, counts.completed + counts.failed), (1, 1));
        assert_eq!(counts.failed, u64::from(expected.is_some()), "{what}");
    }
}

#[tokio::test]
async fn what_cannot_be_noted_is_cancelled() {
    let script = script(&[ON]);
    let memory = Arc::new(Memory {
        broken: true,
        ..Memory::default()
    });
    let operations = operations(&script, &memory, Vec::new());
    let why = operations.take(note("1")).await.unwrap_err();
    assert!(why.contains("does not answer"), "{why}");
    assert_eq!(*script.cancelled.lock().unwrap(), ["1"]);
    assert_eq!(operations.going_on(), 0);
}

#[tokio::test]
async fn what_a_dead_run_left_is_cancelled_or_gone_on_with() {
    let foreign = OperationNote {
        action: "test/gone".into(),
        ..note("2")
    };
    let earlier = vec![note("1"), foreign];
    let (first, memory) = (script(&[WELL]), Arc::<Memory>::default());
    let left = operations(&first, &memory, earlier.clone());
    let problems = left.cancel_noted().await;
    assert_eq!(*first.cancelled.lock().unwrap(), ["1"]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("no action test/gone"), "{problems:?}");
    assert_eq!(memory.list.lock().unwrap().len(), 0);

    let second = script(&[WELL]);
    let left = operations(&second, &memory, earlier);
    left.adopt_earlier();
    let problems = left.wait(Duration::from_mins(1), |_| {}).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let counts = left.counts();
    assert_eq!(
        (counts.attempted, counts.completed, counts.failed),
        (2, 1, 1)
    );
}

#[tokio::test]
async fn an_end_that_is_refused_is_told() {
    let script = Arc::new(Script {
        refuses_to_cancel: true,
        answers: &[ON],
        asked: Mutex::default(),
        cancelled: Mutex::default(),
    });
    let memory = Arc::<Memory>::default();
    let operations = operations(&script, &memory, Vec::new());
    operations.take(note("1")).await.unwrap();
    let problems = operations.cancel_noted().await;
    assert_eq!(
        problems,
        ["operation 1 of action test/script could not be cancelled, and may go on: it will not"]
    );
}
