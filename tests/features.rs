//! What each provider's feature brings into the build: its own SDK, and nobody else's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in a test, failing loudly is the way to report"
)]

use std::collections::BTreeSet;
use std::process::Command;

/// Returns the crates of a build.
fn crates(features: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "tree",
            "--locked",
            "--no-default-features",
            "--edges",
            "normal,build",
        ])
        .args([
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--features",
            features,
        ])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{features:?}: {errors}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect()
}

fn with<'a>(crates: &'a BTreeSet<String>, beginnings: &[&str]) -> Vec<&'a String> {
    crates
        .iter()
        .filter(|name| beginnings.iter().any(|start| name.starts_with(start)))
        .collect()
}

/// What the names of each provider's own crates begin with.
const SDKS: [(&str, &[&str]); 4] = [
    ("aws", &["aws-"]),
    ("gcp", &["google-cloud-", "gaxi"]),
    ("azure", &["azure_", "typespec", "http-types"]),
    // What speaks gRPC is Google's, too; what makes it of the protocol's files is not.
    ("plugins", &["protox", "tonic-build", "tonic-prost-build"]),
];

#[test]
fn each_provider_brings_its_own_sdk_and_no_others() {
    for feature in ["", "aws", "gcp", "azure", "csi", "plugins"] {
        let found = crates(feature);
        for (provider, beginnings) in SDKS {
            let of_it = with(&found, beginnings);
            if provider == feature {
                assert!(!of_it.is_empty(), "{feature} brings {beginnings:?}");
            } else {
                assert!(of_it.is_empty(), "{feature:?} brings {of_it:?}");
            }
        }
    }
}

#[test]
fn all_of_them_share_one_crypto_library_and_one_http_client() {
    let found = crates("aws,gcp,azure,csi,plugins");
    let others = ["aws-lc", "openssl-sys", "native-tls", "schannel"];
    assert_eq!(with(&found, &others), Vec::<&String>::new());
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--all-features", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let clients: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("reqwest ")?.split(' ').next())
        .collect();
    assert_eq!(clients.len(), 1, "versions of reqwest: {clients:?}");
}
