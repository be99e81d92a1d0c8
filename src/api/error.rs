//! How errors are written for people: with their causes, in one line.

use std::error::Error;

/// Writes an error with its causes in one line, leaving out those that are said already.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Several layers repeat what their source says.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        source: Option<Box<Self>>,
    }

    #[test]
    fn nothing_is_said_twice() {
        let inner = Layer {
            text: "disk full",
            source: None,
        };
        let middle = Layer {
            text: "cannot write: disk full",
            source: Some(inner.into()),
        };
        let outer = Layer {
            text: "no backup",
            source: Some(middle.into()),
        };
        assert_eq!(chain(&outer), "no backup: cannot write: disk full");
    }
}
