//! The flags of `ark server`, and what of them wins over the Config.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::api::duration;

/// How often stored backups are looked for where nobody says otherwise.
const DEFAULT_SYNC_PERIOD: Duration = Duration::from_mins(1);
/// The shortest period that is followed; a shorter one would keep the store busy with listings.
const SHORTEST_PERIOD: Duration = Duration::from_mins(1);

/// The flags of `ark server`.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Least severe log lines to write: trace, debug, info, warning, error, fatal or panic
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: LevelFilter,

    /// Form of the log lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Directory with plugins
    #[arg(long, value_name = "DIR", default_value = "/plugins")]
    pub plugin_dir: PathBuf,

    /// Address that serves /metrics, /healthz and /readyz; empty serves none of them
    #[arg(long, value_name = "HOST:PORT", default_value = ":8085")]
    pub metrics_address: String,

    /// How often to look for stored backups that the cluster does not know; wins over the Config [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub backup_sync_period: Option<Duration>,

    /// Serve restores only: make and delete no backups
    #[arg(long)]
    pub restore_only: bool,

    /// Types to restore before all others, in this order; wins over the Config
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    pub restore_resource_priorities: Vec<String>,

    /// Most requests a second to the API server while a run goes on; 0 leaves that to the API server's own fairness
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub client_qps: u32,

    /// Most backups to make at once; restores run beside them
    #[arg(long, value_name = "N", default_value = "2")]
    pub concurrent_backups: NonZeroUsize,

    /// Take turns with other servers of this namespace, so that only one works at a time
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub leader_elect: bool,

    /// How long running work may go on after a request to stop, before it is left to the next server
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration::parse)]
    pub shutdown_grace: Duration,

    /// Name of this server in logs, leases and the status of runs; a unique suffix is added
    #[arg(
        long,
        value_name = "NAME",
        env = "HOSTNAME",
        default_value = "ark-server",
        hide_env_values = true
    )]
    pub identity: String,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One line of text each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

impl ServerArgs {
    /// Returns the limit of requests a second; `None` without one.
    pub fn qps(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.client_qps)
    }
}

/// Returns how often stored backups are looked for: the flag, else the Config, else a minute.
///
/// Ark reads 0 as "not set" and raises what is shorter than a minute to one.
pub(crate) fn sync_period(flag: Option<Duration>, config: Option<Duration>) -> Duration {
    [flag, config]
        .into_iter()
        .flatten()
        .find(|period| !period.is_zero())
        .unwrap_or(DEFAULT_SYNC_PERIOD)
        .max(SHORTEST_PERIOD)
}

/// Reads a level by any name that Ark has accepted; logrus's two levels above error mean error here.
fn parse_level(text: &str) -> Result<LevelFilter, String> {
    match text.to_lowercase().as_str() {
        "trace" => Ok(LevelFilter::TRACE),
        "debug" => Ok(LevelFilter::DEBUG),
        "info" => Ok(LevelFilter::INFO),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "error" | "fatal" | "panic" => Ok(LevelFilter::ERROR),
        _ => Err("use trace, debug, info, warning, error, fatal or panic".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        server: ServerArgs,
    }

    fn parse(flags: &[&str]) -> Result<ServerArgs, clap::Error> {
        Cli::try_parse_from(["ark"].iter().chain(flags)).map(|cli| cli.server)
    }

    #[test]
    fn defaults_are_arks() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.log_level, LevelFilter::INFO);
        assert_eq!(args.metrics_address, ":8085");
        assert_eq!(args.concurrent_backups.get(), 2);
        assert_eq!(args.qps(), None);
        assert!(args.leader_elect && !args.restore_only);
        assert_eq!(args.shutdown_grace, Duration::from_secs(25));
        assert_eq!(args.backup_sync_period, None);
    }

    #[test]
    fn flags_are_read() {
        let args = parse(&[
            "--log-level=warning",
            "--log-format=json",
            "--leader-elect=false",
            "--restore-resource-priorities=namespaces,customresourcedefinitions",
            "--client-qps=20",
            "--backup-sync-period=5m",
        ])
        .unwrap();
        assert_eq!(args.log_level, LevelFilter::WARN);
        assert_eq!(args.log_format, LogFormat::Json);
        assert!(!args.leader_elect);
        assert_eq!(args.restore_resource_priorities.len(), 2);
        assert_eq!(args.qps(), NonZeroU32::new(20));
        assert!(parse(&["--leader-elect"]).unwrap().leader_elect);
    }

    #[test]
    fn nonsense_is_refused() {
        for flag in [
            "--log-level=loud",
            "--concurrent-backups=0",
            "--client-qps=-1",
            "--shutdown-grace=soon",
            "--leader-elect=maybe",
        ] {
            assert!(parse(&[flag]).is_err(), "{flag}");
        }
    }

    #[test]
    fn the_flag_wins_over_the_config() {
        let minutes = |n| Some(Duration::from_mins(n));
        for (flag, config, expected) in [
            (None, None, 1),
            (None, minutes(30), 30),
            (minutes(5), minutes(30), 5),
            (minutes(0), minutes(30), 30),
            (minutes(0), minutes(0), 1),
        ] {
            assert_eq!(
                sync_period(flag, config),
                Duration::from_mins(expected),
                "{flag:?} {config:?}"
            );
        }
        assert_eq!(
            sync_period(Some(Duration::from_secs(1)), None),
            Duration::from_mins(1)
        );
    }
}
