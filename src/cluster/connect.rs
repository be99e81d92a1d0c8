//! Finds the cluster to talk to: a kubeconfig, or the service account of the pod we run in.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may be silent. Watches are quiet for up to this long before kube renews them.
const READ_TIMEOUT: Duration = Duration::from_secs(295);

/// Which cluster to talk to, and as whom.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// A kubeconfig file; `None` means `KUBECONFIG`, `~/.kube/config`, then the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; `None` means its current one.
    pub context: Option<String>,
    /// The `User-Agent` of each request.
    pub user_agent: String,
}

/// Makes a client.
///
/// # Errors
/// One sentence that says which file or setting does not work.
pub async fn connect(options: &ConnectOptions) -> anyhow::Result<kube::Client> {
    let kube_options = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match &options.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .map_err(|error| anyhow::anyhow!("cannot read kubeconfig {}: {error}", path.display()))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &kube_options)
                .await
                .map_err(|error| anyhow::anyhow!("kubeconfig {} cannot be used: {error}", path.display()))?
        }
        None => match kube::Config::from_kubeconfig(&kube_options).await {
            Ok(config) => config,
            Err(error) => kube::Config::incluster().map_err(|incluster| {
                anyhow::anyhow!(
                    "no cluster to talk to: the kubeconfig cannot be used ({error}), and this is no pod ({incluster}); \
                     set --kubeconfig or KUBECONFIG"
                )
            })?,
        },
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    // Callers own their retries: this one would repeat creates behind their backs, for minutes.
    config.default_retry = false;
    // Compressing lists costs the API server more time than the wire saves inside a cluster.
    config.disable_compression = true;
    if let Ok(agent) = http::HeaderValue::from_str(&options.user_agent) {
        config.headers.push((http::header::USER_AGENT, agent));
    }
    kube::Client::try_from(config)
        .map_err(|error| anyhow::anyhow!("cannot make a client for the cluster: {error}"))
}
