//! Which run a call is made for, so that what a plugin says meanwhile gets into that run's log.

use tracing::Span;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan as _;

/// The field that a run's span has; `server/run_log.rs` looks for the same.
const RUN_FIELD: &str = "run";

/// The run that the current task works for.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Tells it from other runs; `None` is all that is done outside of runs.
    pub(super) key: Option<u64>,
    /// What its log lines belong to.
    pub(super) span: Span,
}

impl Run {
    /// Returns the run that the current span is a part of.
    pub(super) fn current() -> Self {
        let span = Span::current();
        let key = tracing::dispatcher::get_default(|dispatch| {
            let registry = dispatch.downcast_ref::<Registry>()?;
            let found = registry
                .span(span.id().as_ref()?)?
                .scope()
                .find(|one| one.metadata().fields().field(RUN_FIELD).is_some())?;
            Some(found.id().into_u64())
        });
        Self { key, span }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer as _, fmt};

    use super::*;

    #[test]
    fn a_run_is_found_from_within() {
        // As the server has it: several layers with a filter each.
        let filter = tracing_subscriber::filter::LevelFilter::INFO;
        let lines = fmt::layer().with_writer(std::io::sink);
        let more = fmt::layer().with_writer(std::io::sink);
        let subscriber = tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(more.with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(Run::current().key, None);
            let one = tracing::info_span!("run", run = "backup/a");
            let other = tracing::info_span!("run", run = "backup/b");
            let outer = one.in_scope(|| Run::current().key);
            assert!(outer.is_some());
            let inner =
                one.in_scope(|| tracing::info_span!("inner").in_scope(|| Run::current().key));
            assert_eq!(inner, outer);
            assert_ne!(other.in_scope(|| Run::current().key), outer);
        });
    }
}
