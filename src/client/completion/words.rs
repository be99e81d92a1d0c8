//! What can stand at the end of a command line, found out from clap's tree of commands. Pure.

use std::collections::BTreeMap;

use clap::{Arg, Command, ValueHint};

/// Ark's types whose names stand on command lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Noun {
    Backup,
    Restore,
    Schedule,
    BackupLocation,
    SnapshotLocation,
}

impl Noun {
    const ALL: [Self; 5] = [
        Self::Backup,
        Self::Restore,
        Self::Schedule,
        Self::BackupLocation,
        Self::SnapshotLocation,
    ];

    /// Returns what one is called on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Schedule => "schedule",
            Self::BackupLocation => "backup-location",
            Self::SnapshotLocation => "snapshot-location",
        }
    }

    /// Returns the type that a part of a command names, as `backup` or `backups`.
    fn of(part: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|noun| part.strip_suffix('s').unwrap_or(part) == noun.word())
    }
}

/// A text that can stand somewhere, and what it means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) help: String,
}

/// What can stand for the last word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Offer {
    Texts(Vec<Text>),
    /// Names of objects, but those that stand there already.
    Names {
        noun: Noun,
        but: Vec<String>,
    },
    Files,
}

/// A command line that has been read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Request {
    /// The beginning of what is to be completed.
    pub(super) typed: String,
    /// What stands before it in the same word: a flag and its equals sign.
    pub(super) prefix: String,
    pub(super) offer: Offer,
    /// The flags before it, by their long names.
    pub(super) flags: BTreeMap<String, String>,
}

/// Puts words together again that bash has taken apart at equals signs and colons.
pub(super) fn rejoin(words: Vec<String>) -> Vec<String> {
    let is_break = |word: &String| !word.is_empty() && word.chars().all(|c| matches!(c, '=' | ':'));
    let mut joined: Vec<String> = Vec::with_capacity(words.len());
    let mut goes_on = false;
    for word in words {
        let breaks = is_break(&word);
        match joined.last_mut() {
            Some(last) if breaks || goes_on => last.push_str(&word),
            _ => joined.push(word),
        }
        goes_on = breaks;
    }
    joined
}

/// Reads a command line whose last word is to be completed.
pub(super) fn read(mut tree: Command, words: &[String]) -> Request {
    // Hands the flags of all commands down to each.
    tree.build();
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    let mut line = Line::new(&tree);
    for word in before {
        line.push(word);
    }
    line.finish(last)
}

/// How far a command line has been read.
struct Line<'a> {
    command: &'a Command,
    /// The commands so far, by their names.
    path: Vec<&'a str>,
    /// The words that are no flags and no commands.
    plain: Vec<String>,
    flags: BTreeMap<String, String>,
    /// A flag whose value comes next.
    open: Option<&'a Arg>,
    /// Whether `--` has ended the flags.
    only_plain: bool,
}

impl<'a> Line<'a> {
    fn new(tree: &'a Command) -> Self {
        Self {
            command: tree,
            path: Vec::new(),
            plain: Vec::new(),
            flags: BTreeMap::new(),
            open: None,
            only_plain: false,
        }
    }

    fn push(&mut self, word: &str) {
        if let Some(flag) = self.open.take() {
            self.note(flag, word);
        } else if self.only_plain {
            self.plain.push(word.to_owned());
        } else if word == "--" {
            self.only_plain = true;
        } else if let Some(long) = word.strip_prefix("--") {
            match long.split_once('=') {
                Some((name, value)) => {
                    if let Some(flag) = self.long(name) {
                        self.note(flag, value);
                    }
                }
                None => self.open = self.long(long).filter(|flag| takes_next_word(flag)),
            }
        } else if let Some(shorts) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            self.push_shorts(shorts);
        } else if self.plain.is_empty()
            && let Some(command) = self.command.find_subcommand(word)
        {
            self.command = command;
            self.path.push(command.get_name());
        } else {
            self.plain.push(word.to_owned());
        }
    }

    /// Reads `abc` of `-abc`: flags up to the first that takes a value, which is the rest or the next word.
    fn push_shorts(&mut self, shorts: &str) {
        for (at, letter) in shorts.char_indices() {
            let flag = self
                .command
                .get_arguments()
                .find(|flag| flag.get_short() == Some(letter));
            let Some(flag) = flag.filter(|flag| takes_next_word(flag)) else {
                continue;
            };
            let value = &shorts[at + letter.len_utf8()..];
            if value.is_empty() {
                self.open = Some(flag);
            } else {
                self.note(flag, value.strip_prefix('=').unwrap_or(value));
            }
            return;
        }
    }

    fn note(&mut self, flag: &Arg, value: &str) {
        if let Some(name) = flag.get_long() {
            self.flags.insert(name.to_owned(), value.to_owned());
        }
    }

    fn long(&self, name: &str) -> Option<&'a Arg> {
        self.command.get_arguments().find(|flag| {
            flag.get_long() == Some(name)
                || flag
                    .get_all_aliases()
                    .is_some_and(|aliases| aliases.contains(&name))
        })
    }

    /// Says what can stand for the last word.
    fn finish(self, last: &str) -> Request {
        let mut request = Request {
            typed: last.to_owned(),
            prefix: String::new(),
            offer: Offer::Texts(Vec::new()),
            flags: BTreeMap::new(),
        };
        if let Some(flag) = self.open {
            request.offer = self.values(flag);
        } else if !self.only_plain && last.starts_with('-') {
            match last.split_once('=') {
                Some((name, typed)) => {
                    if let Some(flag) = name.strip_prefix("--").and_then(|name| self.long(name)) {
                        typed.clone_into(&mut request.typed);
                        request.prefix = format!("{name}=");
                        request.offer = self.values(flag);
                    }
                }
                None => request.offer = Offer::Texts(self.flags_of_command()),
            }
        } else if self.command.has_subcommands() {
            request.offer = Offer::Texts(self.subcommands());
        } else if let Some(argument) = self.positional() {
            request.offer = self.values(argument);
        }
        request.flags = self.flags;
        request
    }

    fn subcommands(&self) -> Vec<Text> {
        self.command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(|command| Text {
                value: command.get_name().to_owned(),
                help: styled(command.get_about()),
            })
            .collect()
    }

    fn flags_of_command(&self) -> Vec<Text> {
        self.command
            .get_arguments()
            .filter(|flag| !flag.is_hide_set())
            .filter_map(|flag| {
                Some(Text {
                    value: format!("--{}", flag.get_long()?),
                    help: styled(flag.get_help()),
                })
            })
            .collect()
    }

    /// Returns the argument that the next plain word belongs to.
    fn positional(&self) -> Option<&'a Arg> {
        let mut at = 0;
        for argument in self.command.get_positionals() {
            let most = argument
                .get_num_args()
                .map_or(1, |range| range.max_values());
            at += most.min(usize::MAX - at);
            if self.plain.len() < at {
                return Some(argument);
            }
        }
        None
    }

    fn values(&self, argument: &Arg) -> Offer {
        if let Some(noun) = self.noun(argument) {
            return Offer::Names {
                noun,
                but: if argument.is_positional() {
                    self.plain.clone()
                } else {
                    Vec::new()
                },
            };
        }
        match argument.get_value_hint() {
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath => return Offer::Files,
            _ => {}
        }
        let values = argument
            .get_possible_values()
            .into_iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| Text {
                value: value.get_name().to_owned(),
                help: styled(value.get_help()),
            });
        Offer::Texts(values.collect())
    }

    /// Returns the type whose names an argument takes. Commands keep to a form, so one rule serves all of them: what
    /// stands behind `ark <noun> <verb>` or `ark <verb> <noun>` are names of that noun, unless it makes new ones.
    fn noun(&self, argument: &Arg) -> Option<Noun> {
        match argument.get_long() {
            Some("from-backup") => return Some(Noun::Backup),
            Some("from-schedule") => return Some(Noun::Schedule),
            Some("storage-location") => return Some(Noun::BackupLocation),
            Some("volume-snapshot-locations") => return Some(Noun::SnapshotLocation),
            Some(_) => return None,
            None => {}
        }
        let noun = self.path.iter().find_map(|part| Noun::of(part))?;
        if !self.path.contains(&"create") {
            return Some(noun);
        }
        let is_new = noun != Noun::Restore
            || self.flags.contains_key("from-backup")
            || self.flags.contains_key("from-schedule");
        // A restore may be given the name of its backup alone.
        (!is_new).then_some(Noun::Backup)
    }
}

/// Returns whether the word after a flag is its value.
fn takes_next_word(flag: &Arg) -> bool {
    flag.get_action().takes_values() && !flag.is_require_equals_set()
}

fn styled(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
