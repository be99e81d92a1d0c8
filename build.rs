//! Compiles the plugins' protocol where they are part of the build, and tells `ark version` which commit it is built
//! from: what the environment says (container builds have no git directory), else what git says in release builds. Debug
//! builds skip git, so that a commit rebuilds nothing.

use std::process::Command;

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[cfg_attr(
    not(feature = "plugins"),
    expect(clippy::unnecessary_wraps, reason = "only protocols can fail")
)]
fn main() -> Outcome {
    println!("cargo::rerun-if-env-changed=ARK_GIT_COMMIT");
    println!("cargo::rerun-if-env-changed=ARK_GIT_TREE_STATE");
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "plugins")]
    compile_protocols()?;
    let given = std::env::var_os("ARK_GIT_COMMIT").is_some();
    if given || std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        return Ok(());
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
        return Ok(());
    };
    let state = if changes.is_empty() { "clean" } else { "dirty" };
    println!("cargo::rustc-env=ARK_GIT_COMMIT={commit}");
    println!("cargo::rustc-env=ARK_GIT_TREE_STATE={state}");
    Ok(())
}

/// Makes Rust of the protocols that plugins speak, each family's in a folder of its own, since all call themselves alike.
#[cfg(feature = "plugins")]
fn compile_protocols() -> Outcome {
    let protos = std::path::Path::new("src/providers/plugin/protos");
    println!("cargo::rerun-if-changed={}", protos.display());
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let families: [(&str, &[&str]); 4] = [
        ("velero", &["generated.proto", "v1.proto", "v2.proto"]),
        ("ark10", &["generated.proto"]),
        ("ark08", &["generated.proto"]),
        ("host", &["plugin.proto", "health.proto", "rpc.proto"]),
    ];
    for (family, files) in families {
        let folder = out.join(family);
        std::fs::create_dir_all(&folder)?;
        tonic_prost_build::configure()
            .out_dir(folder)
            .bytes(".")
            .btree_map(".")
            .compile_fds(protox::compile(files, [protos.join(family)])?)?;
    }
    Ok(())
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
