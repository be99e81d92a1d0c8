//! The server's plugins: how it runs them, and what it knows of them. A build without them has none.

use super::args::ServerArgs;
use crate::api::PluginInfo;
use crate::providers::Environment;
use crate::providers::actions::Actions;

/// Adds the plugins to what providers find around them; nothing is started yet.
pub(crate) fn add(args: &ServerArgs, namespace: &str, environment: Environment) -> Environment {
    #[cfg(feature = "plugins")]
    {
        use crate::providers::plugin::{PluginLimits, PluginOptions, Plugins};
        let plugins = Plugins::new(PluginOptions {
            directory: args.plugin_dir.clone(),
            launcher: args.launcher.clone(),
            environment: environment.clone(),
            namespace: namespace.to_owned(),
            log_level: args.log_level,
            limits: PluginLimits {
                call: args.plugin_timeout,
                ..PluginLimits::default()
            },
        });
        environment.with_plugins(plugins)
    }
    #[cfg(not(feature = "plugins"))]
    {
        let _ = (args, namespace);
        environment
    }
}

/// Returns what is known of the plugins, after a look at their directory.
#[cfg_attr(
    not(feature = "plugins"),
    expect(
        clippy::unused_async,
        reason = "without plugins there is nobody to ask"
    )
)]
pub(crate) async fn known(environment: &Environment) -> Vec<PluginInfo> {
    #[cfg(feature = "plugins")]
    if let Some(plugins) = environment.plugins() {
        return plugins.statuses().await;
    }
    let _ = environment;
    Vec::new()
}

/// Returns the item actions of all plugins, after a look at their directory.
#[cfg_attr(
    not(feature = "plugins"),
    expect(
        clippy::unused_async,
        reason = "without plugins there is nobody to ask"
    )
)]
pub(crate) async fn actions(environment: &Environment) -> Actions {
    #[cfg(feature = "plugins")]
    if let Some(plugins) = environment.plugins() {
        return plugins.actions().await;
    }
    let _ = environment;
    Actions::default()
}

/// Ends the plugins.
#[cfg_attr(
    not(feature = "plugins"),
    expect(
        clippy::unused_async,
        reason = "without plugins there is nothing to end"
    )
)]
pub(crate) async fn end(environment: &Environment) {
    #[cfg(feature = "plugins")]
    if let Some(plugins) = environment.plugins() {
        plugins.shutdown().await;
    }
    #[cfg(not(feature = "plugins"))]
    let _ = environment;
}
