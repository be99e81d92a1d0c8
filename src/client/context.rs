//! What a command needs from its surroundings: the cluster, Ark's namespace, the clock.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::core::Status;
use kube::{Api, Client, Resource};

use super::config::{self, Settings};
use super::glog::GlogArgs;
use super::version;
use crate::api::{DEFAULT_NAMESPACE, names};
use crate::cluster::connect::{self, ConnectOptions, connect_with_url};

/// How long the API server may stay silent. Watches are shorter, see [`super::wait`].
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the API server may stay silent where it passes on what somebody else says: longer than any run.
const FOLLOW_TIMEOUT: Duration = Duration::from_hours(24 * 7);

/// Pauses between tries while the API server is too busy, some eight seconds in all.
const BUSY_PAUSES: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Flags of every command.
#[derive(Args, Debug)]
pub struct GlobalArgs {
    /// Path of the kubeconfig file [default: $KUBECONFIG, else ~/.kube/config, else the pod's own account]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file to use [default: its current one]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    kubecontext: Option<String>,
    /// Namespace that Ark runs in [default: that of `ark client config`, else heptio-ark; for a server in a pod, the
    /// pod's own]
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAMESPACE",
        help_heading = "Cluster"
    )]
    namespace: Option<String>,
    #[command(flatten)]
    glog: GlogArgs,
}

impl GlobalArgs {
    /// Returns what stands for these values on a command line.
    pub(crate) fn of(
        kubeconfig: Option<String>,
        kubecontext: Option<String>,
        namespace: Option<String>,
    ) -> Self {
        Self {
            kubeconfig: kubeconfig.map(PathBuf::from),
            kubecontext,
            namespace,
            glog: GlogArgs::default(),
        }
    }

    /// Returns what the server needs of the global flags: the cluster, and the namespace it works in.
    ///
    /// # Errors
    /// A namespace that cannot be one.
    pub fn for_server(self) -> anyhow::Result<(ConnectOptions, String)> {
        let namespace = namespace_or(self.namespace, connect::pod_namespace())?;
        let connect = ConnectOptions {
            kubeconfig: self.kubeconfig,
            context: self.kubecontext,
            user_agent: version::server_user_agent(),
            ..ConnectOptions::default()
        };
        Ok((connect, namespace))
    }
}

/// Returns the first of: the namespace asked for, the one found, the one Ark has by default.
fn namespace_or(asked: Option<String>, found: Option<String>) -> anyhow::Result<String> {
    let namespace = asked
        .or(found)
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    names::check_namespace_name(&namespace).map_err(anyhow::Error::msg)?;
    Ok(namespace)
}

/// What a command needs from its surroundings. The cluster is only looked for when it is asked for.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) namespace: String,
    kubeconfig: Option<PathBuf>,
    kubecontext: Option<String>,
}

impl Context {
    /// Takes over the global flags, and the user's settings where a flag is not given.
    ///
    /// # Errors
    /// A namespace that cannot be one.
    pub(crate) fn new(args: GlobalArgs, settings: &Settings) -> anyhow::Result<Self> {
        let namespace = match (args.namespace, settings.get(config::NAMESPACE)) {
            (None, Some(set)) => namespace_or(None, Some(set.clone())).map_err(|problem| {
                anyhow!(
                    "{problem}; it stands in the settings, change it with `ark client config set {}=NAME`",
                    config::NAMESPACE
                )
            }),
            (asked, _) => namespace_or(asked, None),
        };
        Ok(Self {
            namespace: namespace?,
            kubeconfig: args.kubeconfig,
            kubecontext: args.kubecontext,
        })
    }

    /// Returns the time.
    #[expect(
        clippy::unused_self,
        reason = "commands take the clock from their context, never from the system"
    )]
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Returns how to reach the cluster.
    pub(crate) fn connect_options(&self) -> ConnectOptions {
        ConnectOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.kubecontext.clone(),
            user_agent: version::user_agent(),
            read_timeout: READ_TIMEOUT,
        }
    }

    /// Returns a way to the cluster on which nothing may come for as long as somebody follows a log; nothing is sent yet.
    pub(crate) async fn patient_client(&self) -> anyhow::Result<Client> {
        let options = ConnectOptions {
            read_timeout: FOLLOW_TIMEOUT,
            ..self.connect_options()
        };
        Ok(connect_with_url(&options).await?.0)
    }

    /// Returns the cluster to talk to; nothing is sent yet.
    pub(crate) async fn cluster(&self) -> anyhow::Result<Cluster> {
        let (client, url) = connect_with_url(&self.connect_options()).await?;
        Ok(Cluster {
            client,
            url,
            namespace: self.namespace.clone(),
        })
    }
}

/// The cluster, and the namespace that Ark's objects are in.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    url: String,
}

impl Cluster {
    /// Returns the API of a type of Ark's objects.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Turns an answer of the API server, or its lack, into one sentence that says what to do.
    pub(crate) fn explain(&self, error: &kube::Error) -> anyhow::Error {
        match error {
            kube::Error::Api(status) => explain_status(&self.url, &self.namespace, status),
            kube::Error::Auth(cause) => {
                anyhow!("the kubeconfig's credentials cannot be used: {cause}")
            }
            kube::Error::SerdeError(cause) => anyhow!(
                "the answer of {} cannot be read: {cause}; is this a Kubernetes API server?",
                self.url
            ),
            other => {
                let mut cause: &dyn std::error::Error = other;
                while let Some(inner) = cause.source() {
                    cause = inner;
                }
                anyhow!(
                    "cannot reach the Kubernetes API server at {}: {cause}; check that the cluster is up and that \
                     the kubeconfig is the right one",
                    self.url
                )
            }
        }
    }
}

/// Says what to do about a refusal.
fn explain_status(url: &str, namespace: &str, status: &Status) -> anyhow::Error {
    match status.code {
        401 => anyhow!(
            "the cluster at {url} does not accept the kubeconfig's credentials; renew them or choose another \
             context with --kubecontext"
        ),
        403 => anyhow!(
            "{}; ask the cluster's administrator for this right",
            status.message
        ),
        404 if is_missing_namespace(status) => anyhow!(
            "namespace {namespace:?} does not exist; name Ark's namespace with -n, or set Ark up with `ark install`"
        ),
        404 if !names_an_object(status) => anyhow!(
            "the cluster at {url} does not know Ark's types; set them up with `ark install`"
        ),
        429 | 503 | 504 => anyhow!(
            "the cluster at {} is too busy ({}); try again in a moment",
            url,
            status.message
        ),
        _ => anyhow!("the cluster refused: {}", status.message),
    }
}

/// Repeats a call that was turned away with 429: nothing has been done then, so any call may be repeated. An API server
/// says so for a moment after a type was installed.
pub(crate) async fn patiently<T, F>(call: impl Fn() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    repeat_while_busy(&BUSY_PAUSES, call).await
}

async fn repeat_while_busy<T, F>(pauses: &[Duration], call: impl Fn() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    for pause in pauses {
        match call().await {
            Err(kube::Error::Api(status)) if status.code == 429 => tokio::time::sleep(*pause).await,
            answer => return answer,
        }
    }
    call().await
}

/// Returns whether a 404 is about one object; a type that does not exist is answered without naming one.
fn names_an_object(status: &Status) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| !details.name.is_empty())
}

fn is_missing_namespace(status: &Status) -> bool {
    names_an_object(status)
        && status
            .details
            .as_ref()
            .is_some_and(|details| details.kind == "namespaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_settings() {
        for (flag, setting, namespace) in [
            (None, None, Some("heptio-ark")),
            (None, Some("set"), Some("set")),
            (Some("asked"), Some("set"), Some("asked")),
            (Some("asked"), Some("Not One"), Some("asked")),
            (None, Some("Not One"), None),
            (Some("Not One"), Some("set"), None),
        ] {
            let args = GlobalArgs::of(None, None, flag.map(str::to_owned));
            let settings = setting
                .map(|set| (config::NAMESPACE.to_owned(), set.to_owned()))
                .into_iter()
                .collect();
            let context = Context::new(args, &settings).ok();
            assert_eq!(
                context.map(|context| context.namespace).as_deref(),
                namespace,
                "{flag:?} {setting:?}"
            );
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (status, sentence) in [
            (
                r#"{"code": 404, "message": "404 page not found", "reason": "Failed to parse error data"}"#,
                "the cluster at https://c does not know Ark's types; set them up with `ark install`",
            ),
            (
                r#"{"code": 404, "message": "namespaces \"ark\" not found", "reason": "NotFound",
                    "details": {"name": "ark", "kind": "namespaces"}}"#,
                "namespace \"ark\" does not exist; name Ark's namespace with -n, or set Ark up with `ark install`",
            ),
            (
                r#"{"code": 401, "message": "Unauthorized", "reason": "Unauthorized"}"#,
                "the cluster at https://c does not accept the kubeconfig's credentials; renew them or choose another \
                 context with --kubecontext",
            ),
            (
                r#"{"code": 403, "message": "backups is forbidden", "reason": "Forbidden"}"#,
                "backups is forbidden; ask the cluster's administrator for this right",
            ),
            (
                r#"{"code": 429, "message": "storage is (re)initializing", "reason": "TooManyRequests"}"#,
                "the cluster at https://c is too busy (storage is (re)initializing); try again in a moment",
            ),
            (
                r#"{"code": 422, "message": "spec.ttl: Invalid value", "reason": "Invalid"}"#,
                "the cluster refused: spec.ttl: Invalid value",
            ),
        ] {
            let status: Status = serde_json::from_str(status).unwrap();
            assert_eq!(
                explain_status("https://c", "ark", &status).to_string(),
                sentence
            );
        }
    }

    #[tokio::test]
    async fn a_busy_server_is_asked_again_and_others_are_not() {
        for (code, calls) in [(429, 3), (503, 1), (404, 1)] {
            let called = std::cell::Cell::new(0);
            let answer: kube::Result<()> = repeat_while_busy(&[Duration::ZERO; 2], || {
                called.set(called.get() + 1);
                let status = Status::failure("no", "No").with_code(code);
                std::future::ready(Err(kube::Error::Api(status.boxed())))
            })
            .await;
            assert!(answer.is_err());
            assert_eq!(called.get(), calls, "{code}");
        }
    }
}
