//! What a command needs from its surroundings: the cluster, Ark's namespace, the clock.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use http::HeaderValue;
use http::header::USER_AGENT;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::{Api, Client, Config, Resource};

use super::version;
use crate::api::{DEFAULT_NAMESPACE, names};
use crate::cluster::connect::ConnectOptions;

/// How long the API server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the API server may stay silent. Watches are shorter, see [`super::wait`].
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Flags of every command.
#[derive(Args, Debug)]
pub struct GlobalArgs {
    /// Path of the kubeconfig file [default: $KUBECONFIG, else ~/.kube/config, else the pod's own account]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file to use [default: its current one]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    kubecontext: Option<String>,
    /// Namespace that Ark runs in
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAMESPACE",
        default_value = DEFAULT_NAMESPACE,
        help_heading = "Cluster"
    )]
    namespace: String,
}

impl GlobalArgs {
    /// Returns what the server needs of the global flags: the cluster, and the namespace it works in.
    ///
    /// # Errors
    /// A namespace that cannot be one.
    pub fn for_server(self) -> anyhow::Result<(ConnectOptions, String)> {
        names::check_namespace_name(&self.namespace).map_err(anyhow::Error::msg)?;
        let connect = ConnectOptions {
            kubeconfig: self.kubeconfig,
            context: self.kubecontext,
            user_agent: version::server_user_agent(),
        };
        Ok((connect, self.namespace))
    }
}

/// What a command needs from its surroundings. The cluster is only looked for when it is asked for.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) namespace: String,
    kubeconfig: Option<PathBuf>,
    kubecontext: Option<String>,
}

impl Context {
    /// Takes over the global flags.
    ///
    /// # Errors
    /// A namespace that cannot be one.
    pub(crate) fn new(args: GlobalArgs) -> anyhow::Result<Self> {
        names::check_namespace_name(&args.namespace).map_err(anyhow::Error::msg)?;
        Ok(Self {
            namespace: args.namespace,
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

    /// Returns the cluster to talk to; nothing is sent yet.
    pub(crate) async fn cluster(&self) -> anyhow::Result<Cluster> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        // kube's own retry repeats a POST after a 503 or 504 for minutes, without a word: a delete request could be
        // made twice, and the user would look at nothing.
        config.default_retry = false;
        let agent = HeaderValue::try_from(version::user_agent()).context("naming the client")?;
        config.headers.push((USER_AGENT, agent));
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).context("preparing the connection to the cluster")?;
        Ok(Cluster {
            client,
            url: url.trim_end_matches('/').to_owned(),
            namespace: self.namespace.clone(),
        })
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.kubecontext.clone(),
            ..KubeConfigOptions::default()
        };
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path).map_err(|error| explain_config(&error))?,
            None => match Kubeconfig::read() {
                Ok(kubeconfig) => kubeconfig,
                Err(error) => {
                    let in_pod = self.kubecontext.is_none().then(Config::incluster);
                    return match in_pod {
                        Some(Ok(config)) => Ok(config),
                        Some(Err(_)) | None => Err(explain_config(&error)),
                    };
                }
            },
        };
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| explain_config(&error))
    }
}

/// Says what to do about a kubeconfig that cannot be used. kube's sentences carry their cause already.
fn explain_config(error: &KubeconfigError) -> anyhow::Error {
    match error {
        KubeconfigError::ReadConfig(cause, path) => anyhow!(
            "there is no kubeconfig at {} ({cause}); name one with --kubeconfig or in KUBECONFIG",
            path.display()
        ),
        KubeconfigError::FindPath => {
            anyhow!("there is no kubeconfig; name one with --kubeconfig or in KUBECONFIG")
        }
        KubeconfigError::CurrentContextNotSet => anyhow!(
            "the kubeconfig has no current context; choose one with --kubecontext or `kubectl config use-context`"
        ),
        KubeconfigError::LoadContext(name) => anyhow!(
            "the kubeconfig has no context {name:?}; `kubectl config get-contexts` lists those there are"
        ),
        KubeconfigError::LoadClusterOfContext(name) => {
            anyhow!(
                "the kubeconfig's context names a cluster {name:?} that it does not describe; correct the file"
            )
        }
        other => anyhow!("the kubeconfig cannot be used: {other}"),
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
            kube::Error::Api(status) => self.explain_status(status),
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

    fn explain_status(&self, status: &Status) -> anyhow::Error {
        match status.code {
            401 => anyhow!(
                "the cluster at {} does not accept the kubeconfig's credentials; renew them or choose another \
                 context with --kubecontext",
                self.url
            ),
            403 => anyhow!(
                "{}; ask the cluster's administrator for this right",
                status.message
            ),
            404 if is_missing_namespace(status) => anyhow!(
                "namespace {:?} does not exist; name Ark's namespace with -n, or set Ark up with `ark install`",
                self.namespace
            ),
            404 if !names_an_object(status) => anyhow!(
                "the cluster at {} does not know Ark's types; set them up with `ark install`",
                self.url
            ),
            429 | 503 | 504 => anyhow!(
                "the cluster at {} is too busy ({}); try again in a moment",
                self.url,
                status.message
            ),
            _ => anyhow!("the cluster refused: {}", status.message),
        }
    }
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
