//! Flags of the logging library that the original Ark is built with. Scripts give them, so they are accepted with every
//! command; this client logs nothing, and the server has `--log-level`, so they change nothing and help does not show
//! them.

use clap::Args;

/// Flags that are accepted and change nothing.
#[derive(Args, Debug, Default)]
pub(crate) struct GlogArgs {
    #[arg(
        short = 'v',
        long = "v",
        global = true,
        hide = true,
        value_name = "LEVEL"
    )]
    verbosity: Vec<String>,
    #[arg(long, global = true, hide = true, value_name = "PATTERN=LEVEL,...")]
    vmodule: Vec<String>,
    #[arg(long, global = true, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    logtostderr: Vec<String>,
    #[arg(long, global = true, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    alsologtostderr: Vec<String>,
    #[arg(long = "log_dir", global = true, hide = true, value_name = "DIR")]
    log_dir: Vec<String>,
    #[arg(
        long = "log_backtrace_at",
        global = true,
        hide = true,
        value_name = "FILE:LINE"
    )]
    log_backtrace_at: Vec<String>,
    #[arg(long, global = true, hide = true, value_name = "LEVEL")]
    stderrthreshold: Vec<String>,
}
