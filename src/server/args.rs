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

    /// How long a call of a plugin may take before it is given up
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub plugin_timeout: Duration,

    /// Variables that plugins see besides those of the clouds, of proxies and of Velero; `PREFIX*` names several
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub plugin_env: Vec<String>,

    /// The program through which plugins are started; set by `main`, which is it.
    #[arg(skip)]
    pub launcher: Option<PathBuf>,

    /// Address that serves /metrics, /healthz and /readyz; empty serves none of them
    #[arg(long, value_name = "HOST:PORT", default_value = ":8085")]
    pub metrics_address: String,

    /// Address that serves downloads to those who cannot reach the store; empty serves none
    #[arg(long, value_name = "HOST:PORT", default_value = ":8086")]
    pub download_address: String,

    /// Public URL of the download address, for links to it; without one they name the pod
    #[arg(long, value_name = "URL", value_parser = parse_base)]
    pub download_url: Option<String>,

    /// How often to look for stored backups that the cluster does not know; wins over the Config [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub backup_sync_period: Option<Duration>,

    /// Location of backups that name none: a BackupStorageLocation, or the Config where none is called `default`
    #[arg(long, value_name = "NAME", default_value = crate::api::DEFAULT_LOCATION)]
    pub default_backup_storage_location: String,

    /// Snapshot locations of backups that name none, where a provider has several
    #[arg(long, value_name = "PROVIDER:LOCATION,...", value_delimiter = ',', value_parser = parse_pair)]
    pub default_volume_snapshot_locations: Vec<(String, String)>,

    /// Serve restores only: make and delete no backups
    #[arg(long)]
    pub restore_only: bool,

    /// Types to restore before all others, in this order; wins over the Config
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    pub restore_resource_priorities: Vec<String>,

    /// Most requests a second to the API server while a run goes on; 0 leaves that to the API server's own fairness
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub client_qps: u32,

    #[command(flatten)]
    pub accepted: AcceptedArgs,

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

    /// Name of the pod that this server runs in
    #[arg(
        long,
        value_name = "NAME",
        env = "POD_NAME",
        default_value = "",
        hide = true
    )]
    pub pod_name: String,

    /// Address of that pod
    #[arg(
        long,
        value_name = "IP",
        env = "POD_IP",
        default_value = "",
        hide = true
    )]
    pub pod_ip: String,
}

/// Flags of Ark's server that mean nothing here, so that Deployments written for it still start.
#[derive(Args, Clone, Debug)]
pub struct AcceptedArgs {
    /// Requests beyond `--client-qps` in a burst: the limit here has no burst.
    #[arg(long, value_name = "N", hide = true)]
    pub client_burst: Option<NonZeroU32>,
    /// How long file backups of volumes may take: there are none.
    #[arg(long, value_name = "DURATION", hide = true, value_parser = duration::parse)]
    pub restic_timeout: Option<Duration>,
    /// Where Go's profiler listened.
    #[arg(long, value_name = "HOST:PORT", hide = true)]
    pub profiler_address: Option<String>,
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

/// Reads `provider:location`.
fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((provider, location)) if !provider.is_empty() && !location.is_empty() => {
            Ok((provider.to_owned(), location.to_owned()))
        }
        _ => Err("write PROVIDER:LOCATION, such as aws:aws-default".to_owned()),
    }
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

/// Reads the URL that links begin with.
fn parse_base(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => {
            Ok(text.to_owned())
        }
        _ => Err("use the http or https URL under which others reach this server".to_owned()),
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
        assert_eq!(args.download_address, ":8086");
        assert_eq!(args.download_url, None);
        assert_eq!(args.concurrent_backups.get(), 2);
        assert_eq!(args.qps(), None);
        assert!(args.leader_elect && !args.restore_only);
        assert_eq!(args.shutdown_grace, Duration::from_secs(25));
        assert_eq!(args.backup_sync_period, None);
        assert_eq!(args.plugin_timeout, Duration::from_mins(10));
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
            "--default-volume-snapshot-locations=aws:a,gcp:b",
            "--client-burst=30",
            "--restic-timeout=1h",
            "--profiler-address=localhost:6060",
        ])
        .unwrap();
        assert_eq!(args.log_level, LevelFilter::WARN);
        assert_eq!(args.log_format, LogFormat::Json);
        assert!(!args.leader_elect);
        assert_eq!(args.restore_resource_priorities.len(), 2);
        assert_eq!(args.default_volume_snapshot_locations[1].1, "b");
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
            "--client-burst=0",
            "--default-volume-snapshot-locations=aws",
            "--download-url=ark.example.org",
            "--download-url=ftp://ark.example.org",
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
