//! Runs hooks around pods: some pods side by side, each in a task of its own, so that a pod is never left between its
//! pre and its post hooks because somebody else is slow, has failed, or has been cancelled.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{Hook, HookNotes, Phase, PodHooks, Rules};
use crate::api::{HookErrorMode, HookOwed};
use crate::backup::actions::{Acted, ForType, ItemActions, Pass};
use crate::backup::volumes::VolumeTaker;
use crate::cluster::{Cluster, ClusterError, Exec, ExecEnd, Item, ItemHeader, ProcessEnd};
use crate::providers::ledger::{Account, Ledger};

/// Pods whose hooks run at the same time.
pub(super) const PODS_AT_ONCE: usize = 8;
/// How long the volumes of a pod may take to be snapshot between its pre and its post hooks, and how long item actions may
/// take before that.
const LONGEST_HOLD: Duration = Duration::from_mins(5);
/// The pause before a post hook that could not be begun is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the hooks of one backup.
#[derive(Debug)]
pub(crate) struct HookRunner {
    work: Arc<Work>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Work {
    cluster: Cluster,
    rules: Rules,
    actions: ItemActions,
    /// What actions are asked about pods.
    asked: Option<ForType>,
    volumes: VolumeTaker,
    account: Account<HookOwed>,
    slots: Semaphore,
    stop: CancellationToken,
}

/// A pod whose hooks have run.
#[derive(Debug)]
pub(crate) struct Hooked {
    /// What item actions said of it, and the pod, if it is to be saved.
    pub(crate) acted: Acted,
    /// What came of the hooks.
    pub(crate) notes: HookNotes,
}

impl HookRunner {
    pub(crate) fn new(
        cluster: &Cluster,
        rules: Rules,
        ledger: Arc<dyn Ledger<HookOwed>>,
        (actions, asked): (ItemActions, Option<ForType>),
        volumes: VolumeTaker,
    ) -> Self {
        let work = Work {
            cluster: cluster.clone(),
            rules,
            actions,
            asked,
            volumes,
            account: Account::new(ledger, Vec::new()),
            slots: Semaphore::new(PODS_AT_ONCE),
            stop: CancellationToken::new(),
        };
        Self {
            work: Arc::new(work),
            tasks: TaskTracker::new(),
        }
    }

    /// Begins no more pre hooks, and waits until the post hooks that are owed have run. They take no longer than the
    /// hooks' own timeouts.
    pub(crate) async fn stop(&self) {
        self.work.stop.cancel();
        self.tasks.close();
        if !self.tasks.is_empty() {
            tracing::info!("waiting for the post hooks of pods whose pre hooks have run");
        }
        self.tasks.wait().await;
    }

    /// Returns the hooks of a pod, if it has any.
    pub(super) fn hooks_of(&self, pod: &Item) -> Option<PodHooks> {
        self.work.rules.of(pod)
    }

    /// Begins to run the hooks of a pod, which is given back when they have run.
    pub(super) fn begin(&self, pod: Item, hooks: PodHooks) -> JoinHandle<Hooked> {
        let work = Arc::clone(&self.work);
        // The span makes what hooks print a part of the run's log.
        let around = async move { work.around(pod, hooks).await }.in_current_span();
        self.tasks.spawn(around)
    }
}

impl Work {
    /// Runs a pod's hooks, and says whether the pod is to be saved.
    async fn around(&self, pod: Item, hooks: PodHooks) -> Hooked {
        let mut notes = HookNotes::default();
        let taken = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            slot = self.slots.acquire() => slot.ok(),
        };
        let Some(_slot) = taken else {
            return Hooked {
                acted: Acted::default(),
                notes,
            };
        };
        let acted = self.hook(pod, &hooks, &mut notes).await;
        Hooked { acted, notes }
    }

    async fn hook(&self, item: Item, hooks: &PodHooks, notes: &mut HookNotes) -> Acted {
        let pod = &item.header.clone();
        for problem in &hooks.problems {
            let text = format!("pods {}: {problem}", pod.name);
            notes.results.warnings.add(Some(&pod.namespace), text);
        }
        let owed = HookOwed {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
        };
        // Only pre hooks leave something behind that post hooks have to undo.
        let owes = !hooks.pre.is_empty() && !hooks.post.is_empty();
        if owes && let Err(error) = self.account.owe(&owed).await {
            notes.results.errors.add(
                Some(&pod.namespace),
                format!(
                    "pods {}: its hooks were not run, because it could not be noted that its post hooks are owed: \
                     {error}; it is not in this backup",
                    pod.name
                ),
            );
            return Acted::default();
        }
        let mut runner = PodRunner {
            cluster: &self.cluster,
            pod: &owed,
            containers: &hooks.containers,
            notes,
        };
        let before = runner.run_pre(&hooks.pre, &self.stop).await;
        let acted = match before {
            Ran::Passed => {
                let claims = self.volumes.claims_of(&item);
                let mut acted = self.act(item).await;
                // Those of a pod that is not saved are taken with those of no pod, as they are then.
                if acted.taken.is_some() && !claims.is_empty() {
                    self.take_volumes(pod, claims, runner.notes).await;
                }
                if runner.run_post(&hooks.post).await == Ran::Failed {
                    acted.taken = None;
                }
                acted
            }
            Ran::Failed => {
                runner.run_post(&hooks.post).await;
                Acted::default()
            }
            // As everything else that goes while the backup runs, it is stored as it was listed.
            Ran::PodGone => self.act(item).await,
        };
        if owes && let Err(error) = self.account.paid(std::slice::from_ref(&owed)).await {
            tracing::warn!(
                namespace = pod.namespace,
                pod = pod.name,
                error,
                "it could not be noted that the post hooks have run; another server may run them again"
            );
        }
        acted
    }

    /// Has item actions look at a pod, but not for ever.
    async fn act(&self, pod: Item) -> Acted {
        let Some(asked) = self
            .asked
            .as_ref()
            .filter(|asked| self.actions.are_for(asked, &pod))
        else {
            return Acted::as_served(pod);
        };
        let (namespace, name) = (pod.header.namespace.clone(), pod.header.name.clone());
        let acting = self.actions.act(asked, pod, Pass::First);
        let acted = tokio::time::timeout(LONGEST_HOLD, acting).await;
        acted.unwrap_or_else(|_| {
            let limit = crate::api::duration::format(LONGEST_HOLD);
            let mut acted = Acted::default();
            acted.results.errors.add(
                Some(&namespace),
                format!(
                    "pods {name}: item actions had not ended after {limit}, and its post hooks could not wait; it is not \
                     in this backup"
                ),
            );
            acted
        })
    }

    /// Has the volumes of a pod snapshot, and waits until they may change again, but not for ever: somebody may be waiting
    /// to write.
    async fn take_volumes(&self, pod: &ItemHeader, claims: Vec<String>, notes: &mut HookNotes) {
        let taking = self.volumes.begin_pod(&pod.namespace, claims);
        if tokio::time::timeout(LONGEST_HOLD, taking).await.is_err() {
            let limit = crate::api::duration::format(LONGEST_HOLD);
            notes.results.errors.add(
                Some(&pod.namespace),
                format!(
                    "pods {}: its volumes were not snapshot within {limit}, so its post hooks ran before; what is in the \
                     snapshots may not be consistent",
                    pod.name
                ),
            );
        }
    }
}

/// Runs the hooks of one pod, one after the other.
pub(super) struct PodRunner<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) pod: &'a HookOwed,
    pub(super) containers: &'a [String],
    pub(super) notes: &'a mut HookNotes,
}

/// What came of one or more hooks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ran {
    /// They succeeded, or their failures are to be put up with.
    Passed,
    /// One failed, and the pod is not to be saved for it.
    Failed,
    /// The pod is not there any more.
    PodGone,
}

impl PodRunner<'_> {
    /// Runs pre hooks up to the first that fails, or until `stop` is cancelled.
    async fn run_pre(&mut self, hooks: &[Hook], stop: &CancellationToken) -> Ran {
        for hook in hooks {
            if stop.is_cancelled() {
                break;
            }
            match self.run(Phase::Pre, hook).await {
                Ran::Passed => {}
                ended @ (Ran::Failed | Ran::PodGone) => return ended,
            }
        }
        Ran::Passed
    }

    /// Runs all post hooks, whatever becomes of each.
    pub(super) async fn run_post(&mut self, hooks: &[Hook]) -> Ran {
        let mut ended = Ran::Passed;
        for hook in hooks {
            match self.run(Phase::Post, hook).await {
                Ran::Passed => {}
                Ran::Failed => ended = Ran::Failed,
                Ran::PodGone => break,
            }
        }
        ended
    }

    async fn run(&mut self, phase: Phase, hook: &Hook) -> Ran {
        self.notes.counts.attempted += 1;
        let container = if hook.container.is_empty() {
            self.containers.first()
        } else {
            self.containers.iter().find(|name| **name == hook.container)
        };
        let failure = match container {
            Some(container) if !hook.command.is_empty() => {
                match self.exec(phase, container, hook).await {
                    Ok(end) => self.tell(phase, container, hook, &end),
                    Err(error) if error.is_not_found() => return self.pod_gone(phase, hook),
                    Err(error) => Some(error.to_string()),
                }
            }
            Some(_) => Some("its command is empty".to_owned()),
            None => Some(format!("the pod has no container {:?}", hook.container)),
        };
        let Some(failure) = failure else {
            return Ran::Passed;
        };
        self.notes.counts.failed += 1;
        let HookOwed { namespace, pod } = self.pod;
        let Hook { name, .. } = hook;
        let text = format!("pods {pod}: {phase} hook {name} failed: {failure}");
        match hook.on_error {
            HookErrorMode::Continue => {
                tracing::warn!(namespace, pod, hook = name, %phase, failure, "a hook failed; that is put up with");
                self.notes.results.warnings.add(Some(namespace), text);
                Ran::Passed
            }
            HookErrorMode::Fail => {
                tracing::error!(namespace, pod, hook = name, %phase, failure, "a hook failed");
                let text = format!(
                    "{text}; the pod is not in this backup. Mend the hook, or set its on-error to Continue"
                );
                self.notes.results.errors.add(Some(namespace), text);
                Ran::Failed
            }
        }
    }

    /// Runs a hook's command. A post hook has to run: where it cannot be begun, it is tried again as long as it has time.
    async fn exec(
        &self,
        phase: Phase,
        container: &str,
        hook: &Hook,
    ) -> Result<ExecEnd, ClusterError> {
        let deadline = Instant::now() + hook.timeout;
        loop {
            let exec = Exec {
                namespace: &self.pod.namespace,
                pod: &self.pod.pod,
                container,
                command: &hook.command,
                timeout: deadline.saturating_duration_since(Instant::now()),
            };
            match self.cluster.exec(&exec).await {
                Err(error)
                    if phase == Phase::Post
                        && error.may_pass()
                        && Instant::now() + PAUSE < deadline =>
                {
                    tracing::info!(pod = self.pod.pod, %error, "a post hook cannot be begun yet; trying again");
                    sleep(PAUSE).await;
                }
                begun => return begun,
            }
        }
    }

    /// Logs what a hook did; returns why it failed, if so.
    fn tell(&self, phase: Phase, container: &str, hook: &Hook, end: &ExecEnd) -> Option<String> {
        let HookOwed { namespace, pod } = self.pod;
        let (stdout, stderr) = (end.stdout.text(), end.stderr.text());
        let name = &hook.name;
        tracing::info!(namespace, pod, container, hook = name, %phase, stdout, stderr, "a hook has run");
        match &end.end {
            ProcessEnd::Exited(0) => None,
            ProcessEnd::Exited(code) => Some(format!("the command ended with exit code {code}")),
            ProcessEnd::Failed(reason) => Some(reason.clone()),
            ProcessEnd::TimedOut => Some(format!(
                "it had not ended after {}; the command may still be running",
                crate::api::duration::format(hook.timeout)
            )),
        }
    }

    fn pod_gone(&mut self, phase: Phase, hook: &Hook) -> Ran {
        let HookOwed { namespace, pod } = self.pod;
        tracing::info!(namespace, pod, hook = hook.name, %phase, "the pod is gone, its hooks do not run");
        let text =
            format!("pods {pod}: it was deleted during the backup, before its {phase} hooks ran");
        self.notes.results.warnings.add(Some(namespace), text);
        Ran::PodGone
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers a connection with each of `answers` in turn; returns the way to it.
    async fn server(answers: &'static [&'static str]) -> (Cluster, JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            let mut asked = 0;
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
                let head =
                    format!("HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                asked += 1;
            }
            asked
        });
        // Another test may have been faster.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let mut config = kube::Config::new(url.parse().unwrap());
        config.default_retry = false;
        let client = kube::Client::try_from(config).unwrap();
        (Cluster::new(client, None), answering)
    }

    #[tokio::test]
    async fn post_hooks_are_begun_again_and_pre_hooks_are_not() {
        for (phase, answers, ran, failed) in [
            (Phase::Pre, &["503 Busy"][..], Ran::Failed, 1),
            (Phase::Post, &["503 Busy", "404 Gone"], Ran::PodGone, 0),
            (Phase::Post, &["403 Forbidden"], Ran::Failed, 1),
        ] {
            let (cluster, answering) = server(answers).await;
            let hook = Hook {
                name: "freeze".into(),
                container: String::new(),
                command: vec!["sync".into()],
                on_error: HookErrorMode::Fail,
                timeout: Duration::from_mins(1),
            };
            let mut notes = HookNotes::default();
            let mut runner = PodRunner {
                cluster: &cluster,
                pod: &HookOwed::default(),
                containers: &["main".to_owned()],
                notes: &mut notes,
            };
            assert_eq!(runner.run(phase, &hook).await, ran, "{phase} {answers:?}");
            assert_eq!(answering.await.unwrap(), answers.len());
            assert_eq!(notes.counts.failed, failed);
        }
    }
}
