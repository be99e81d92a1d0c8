//! Plugin programs for tests: the examples, and the one that misbehaves.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ark::providers::Environment;
use ark::providers::plugin::{PluginLimits, PluginOptions, Plugins};
use tempfile::TempDir;

/// The programs, which cargo calls examples.
const EXAMPLES: [&str; 3] = [
    "test-plugin",
    "plugin-item-action",
    "plugin-directory-store",
];

/// Returns a program's file, after building it if need be: `cargo test --test NAME` does not.
pub fn program(example: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // This test is in `deps` of the same profile.
        let here = std::env::current_exe().unwrap();
        let profile = here.parent().and_then(Path::parent).unwrap();
        let features: Vec<&str> = [
            ("aws", cfg!(feature = "aws")),
            ("azure", cfg!(feature = "azure")),
            ("csi", cfg!(feature = "csi")),
            ("gcp", cfg!(feature = "gcp")),
            ("plugins", cfg!(feature = "plugins")),
        ]
        .into_iter()
        .filter_map(|(feature, is_on)| is_on.then_some(feature))
        .collect();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet"]);
        // What cargo tells this test would have build scripts run again.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let is_ours = ["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&&*name);
            if (name.starts_with("CARGO_") && !is_ours) || name == "OUT_DIR" {
                build.env_remove(&*name);
            }
        }
        // As this test was built, so that nothing of it is built again.
        if features.len() < 5 {
            build.args(["--no-default-features", "--features"]);
            build.arg(features.join(","));
        }
        if !cfg!(debug_assertions) {
            build.args(["--profile", "bench"]);
        }
        for example in EXAMPLES {
            build.args(["--example", example]);
        }
        assert!(build.status().unwrap().success(), "{build:?}");
        profile.join("examples")
    });
    folder.join(example)
}

/// A plugin directory.
#[derive(Debug)]
pub struct PluginDir(TempDir);

impl PluginDir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Puts a program there under a name.
    pub fn with(self, name: &str, program: &Path) -> Self {
        symlink(program, self.path().join(name)).unwrap();
        self
    }

    /// Puts the tests' plugin there; its name says what it is.
    pub fn with_test_plugin(self, name: &str) -> Self {
        self.with(name, &program("test-plugin"))
    }

    /// Puts a shell script there.
    pub fn with_script(self, name: &str, script: &str) -> Self {
        let file = self.path().join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn options(&self) -> PluginOptions {
        PluginOptions {
            directory: self.path().to_owned(),
            launcher: None,
            environment: Environment::default(),
            namespace: "ark-tests".to_owned(),
            log_level: tracing::level_filters::LevelFilter::INFO,
            limits: PluginLimits::default(),
        }
    }

    /// Returns a host of its plugins.
    pub fn plugins(&self) -> Plugins {
        Plugins::new(self.options())
    }
}
