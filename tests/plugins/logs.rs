//! Whose log a plugin's lines get into.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Instrument as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter};

use crate::Given;
use crate::support::plugins::PluginDir;
use crate::support::{PATIENCE, wait_until};

/// What was said within each run, as the server keeps it.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Runs {
    fn of(&self, run: &str) -> Vec<String> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.get(run).cloned().unwrap_or_default()
    }
}

struct Name(String);

#[derive(Default)]
struct Text {
    run: Option<String>,
    all: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "run" {
            self.run = Some(format!("{value:?}").trim_matches('"').to_owned());
        }
        write!(self.all, "{}={value:?} ", field.name()).unwrap();
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Runs {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut text = Text::default();
        attributes.record(&mut text);
        if let Some(run) = text.run {
            context.span(id).unwrap().extensions_mut().insert(Name(run));
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let run = context.event_scope(event).and_then(|mut scope| {
            scope.find_map(|span| span.extensions().get::<Name>().map(|name| name.0.clone()))
        });
        let mut text = Text::default();
        event.record(&mut text);
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.entry(run.unwrap_or_default())
            .or_default()
            .push(text.all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_get_into_the_log_of_the_run_that_they_are_about() {
    let runs = Runs::default();
    let layer = runs.clone().with_filter(filter::LevelFilter::INFO);
    // Of this process: what the host's own tasks say is caught as well.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .expect("no other test of this binary logs");
    let dir = PluginDir::new().with_test_plugin("velero");
    let plugins = dir.plugins();
    let actions = plugins.backup_item_actions().await.actions;
    let names = ["backup/a", "backup/b", "restore/a"];
    let work = names.map(|run| {
        let action = Arc::clone(&actions[0]);
        let span = tracing::info_span!("run", run);
        let work = async move {
            let mut processes = std::collections::BTreeSet::new();
            for turn in 0..20 {
                let given = Given::new(&format!("{}-{turn}", run.replace('/', "-")));
                let span = tracing::info_span!("an inner span");
                let asked = action.execute(given.item(), &given.run).instrument(span);
                let item = asked.await.unwrap().item.unwrap();
                let item: serde_json::Value = serde_json::from_slice(&item).unwrap();
                processes.insert(item["process"].as_u64().unwrap());
            }
            processes
        };
        tokio::spawn(work.instrument(span))
    });
    for work in work {
        // A run may change its process where none of its calls is under way, but none is shared at a time.
        assert!(!work.await.unwrap().is_empty());
    }
    for run in names {
        let lines = wait_until("all lines are there", PATIENCE, async || {
            let lines = runs.of(run);
            Ok((lines.len() >= 20).then_some(lines))
        })
        .await
        .unwrap();
        let mark = run.replace('/', "-");
        assert_eq!(lines.len(), 20, "{lines:#?}");
        for line in lines {
            assert!(
                line.contains("looking at an item")
                    && line.contains(&format!("item={mark}-"))
                    && line.contains("pluginName=\"velero\""),
                "{run}: {line}"
            );
        }
    }
}
