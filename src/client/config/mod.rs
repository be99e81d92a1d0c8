//! The client's own settings: `ark client config ...`, and the file behind it.
//!
//! One file in one place, `$HOME/.config/ark/config.json`, where the original Ark keeps it, so that both may be used
//! side by side. `XDG_CONFIG_HOME` is not looked at for that reason. Nothing in it is secret: the file and its directory
//! get the modes that the process gives to anything new. The server never reads it.

pub(crate) mod get;
pub(crate) mod set;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::output;
use super::surroundings::Surroundings;

/// The setting for the namespace that Ark runs in.
pub(crate) const NAMESPACE: &str = "namespace";
/// Every setting that means something to this Ark.
const KNOWN: [&str; 1] = [NAMESPACE];

/// The client's settings, as they stand in the file: also those that another Ark knows and this one does not.
pub(crate) type Settings = BTreeMap<String, String>;

/// Where the settings are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SettingsFile(PathBuf);

impl SettingsFile {
    /// Names the file of this user.
    ///
    /// # Errors
    /// There is no home directory.
    pub(crate) fn of(surroundings: &Surroundings) -> anyhow::Result<Self> {
        let home = surroundings.home.as_ref().ok_or_else(|| {
            anyhow!("there is no home directory for the settings; set HOME to one")
        })?;
        Ok(Self(home.join(".config/ark/config.json")))
    }

    /// Reads the settings; a file that is not there has none.
    ///
    /// # Errors
    /// The file cannot be read, or is no flat JSON object of texts.
    pub(crate) fn read(&self) -> anyhow::Result<Settings> {
        let path = self.0.display();
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Settings::new()),
            Err(error) => {
                return Err(anyhow!(
                    "the settings in {path} cannot be read: {error}; correct the file's rights"
                ));
            }
        };
        serde_json::from_str(&text).map_err(|error| {
            anyhow!(
                "the settings in {path} cannot be read: {error}; write them as \
                 {{\"{NAMESPACE}\": \"heptio-ark\"}}, or remove the file"
            )
        })
    }

    /// Writes the settings as a whole: a process that dies meanwhile leaves the old ones.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub(crate) fn write(&self, settings: &Settings) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(settings).context("encoding the settings")?;
        replace(&self.0, format!("{json}\n").as_bytes()).with_context(|| {
            format!(
                "the settings cannot be written to {}; correct the rights of its directory",
                self.0.display()
            )
        })
    }
}

/// Puts a file in the place of another. A link stays one: whoever keeps settings elsewhere finds them there.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(directory) = target.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut new = target.clone().into_os_string();
    new.push(format!(".{}.new", std::process::id()));
    fs::write(&new, contents)
        .and_then(|()| fs::rename(&new, &target))
        .inspect_err(|_| {
            // What is left of the attempt is of no use; the error that matters is the first.
            fs::remove_file(&new).ok();
        })
}

/// Reads the settings for a command that is about something else: what cannot be read is said and left out.
pub(crate) fn read_or_warn(surroundings: &Surroundings) -> Settings {
    // Without a home directory there is nothing to read, and nothing to say about it.
    let Ok(file) = SettingsFile::of(surroundings) else {
        return Settings::new();
    };
    file.read().unwrap_or_else(|problem| {
        output::warn(&format!("{problem}. Going on without them"));
        Settings::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn file_in(home: &Path) -> SettingsFile {
        SettingsFile::of(&Surroundings {
            home: Some(home.to_owned()),
            ..Surroundings::default()
        })
        .unwrap()
    }

    #[test]
    fn settings_are_read_back() {
        let home = tempfile::tempdir().unwrap();
        let file = file_in(home.path());
        assert_eq!(file.read().unwrap(), Settings::new());
        for written in [
            settings(&[("namespace", "elsewhere"), ("colour", "blue")]),
            settings(&[("namespace", "other")]),
            settings(&[]),
        ] {
            file.write(&written).unwrap();
            assert_eq!(file.read().unwrap(), written);
        }
        let left: Vec<_> = fs::read_dir(home.path().join(".config/ark"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["config.json"]);
    }

    #[test]
    fn what_is_no_flat_object_of_texts_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = file_in(home.path());
        file.write(&Settings::new()).unwrap();
        for text in ["", "{", "[]", r#"{"namespace": 1}"#, r#"{"a": {"b": "c"}}"#] {
            fs::write(&file.0, text).unwrap();
            let problem = file.read().unwrap_err().to_string();
            assert!(problem.contains("config.json cannot be read"), "{problem}");
            assert!(problem.ends_with("or remove the file"), "{problem}");
        }
    }

    #[test]
    fn no_home_has_no_settings() {
        let nowhere = Surroundings::default();
        assert!(SettingsFile::of(&nowhere).is_err());
        assert_eq!(read_or_warn(&nowhere), Settings::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let home = tempfile::tempdir().unwrap();
        let kept = home.path().join("kept.json");
        fs::write(&kept, "{}").unwrap();
        fs::create_dir_all(home.path().join(".config/ark")).unwrap();
        let link = home.path().join(".config/ark/config.json");
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        let file = file_in(home.path());
        file.write(&settings(&[("namespace", "a")])).unwrap();
        assert!(link.is_symlink());
        assert!(fs::read_to_string(&kept).unwrap().contains("\"a\""));
    }
}
