//! Tells `ark version` which commit it is built from: what the environment says (container builds have no git
//! directory), else what git says in release builds. Debug builds skip git, so that a commit rebuilds nothing.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=ARK_GIT_COMMIT");
    println!("cargo::rerun-if-env-changed=ARK_GIT_TREE_STATE");
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var_os("ARK_GIT_COMMIT").is_some();
    if given || std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        return;
    }
    for path in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    // Grows with every commit, so that a commit without changed sources is seen too.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let (Some(commit), Some(changes)) = (
        git(&["rev-parse", "HEAD"]),
        git(&["status", "--porcelain", "--untracked-files=no"]),
    ) else {
        return;
    };
    let state = if changes.is_empty() { "clean" } else { "dirty" };
    println!("cargo::rustc-env=ARK_GIT_COMMIT={commit}");
    println!("cargo::rustc-env=ARK_GIT_TREE_STATE={state}");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
