//! The line with which a plugin says where it listens.

use std::path::PathBuf;

/// The longest such line; what is longer is no handshake.
pub(super) const LONGEST: usize = 4096;

/// What is set for a program to see that a host starts it, for either family: each looks at its own only.
pub(super) const COOKIES: [(&str, &str); 2] = [("VELERO_PLUGIN", "hello"), ("ARK_PLUGIN", "hello")];

/// Where a plugin listens, and what it speaks there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Handshake {
    pub(super) address: Address,
    pub(super) version: Version,
}

/// Where a plugin listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Address {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// The protocol of the plugins themselves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Version {
    /// Ark's.
    One,
    /// Velero's.
    Two,
}

/// Reads the line `1|2|unix|/path|grpc|`: version of the handshake, of the plugins, network, address, and what is spoken
/// there, then a certificate and more that is of no use here.
///
/// # Errors
/// The end of a sentence that begins with the file.
pub(super) fn parse(line: &str) -> Result<Handshake, String> {
    let line = line.trim_end_matches(['\r', '\n']);
    let fields: Vec<&str> = line.split('|').collect();
    let [core, version, network, address, rest @ ..] = fields.as_slice() else {
        return Err(format!(
            "is no plugin: it wrote {} where a plugin says where it listens",
            shortened(line)
        ));
    };
    if *core != "1" {
        return Err(format!(
            "is no plugin, or one of a kind that is not known: its first line is {}",
            shortened(line)
        ));
    }
    let version = match *version {
        "1" => Version::One,
        "2" => Version::Two,
        other => {
            return Err(format!(
                "speaks protocol {}; 1 (Ark's) and 2 (Velero's) are known",
                shortened(other)
            ));
        }
    };
    if rest.first().is_some_and(|spoken| *spoken != "grpc") || rest.is_empty() {
        return Err("does not speak gRPC; only that is known".to_owned());
    }
    if rest
        .get(1)
        .is_some_and(|certificate| !certificate.is_empty())
    {
        return Err("wants TLS, which is not spoken with plugins".to_owned());
    }
    let address = match *network {
        "unix" if !address.is_empty() => Address::Unix(PathBuf::from(address)),
        "tcp" if !address.is_empty() => Address::Tcp((*address).to_owned()),
        _ => {
            return Err(format!(
                "listens at {} {}, which cannot be reached; unix and tcp can",
                shortened(network),
                shortened(address)
            ));
        }
    };
    Ok(Handshake { address, version })
}

/// Returns a text for messages, in quotes and cut.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    let short: String = text.chars().take(LONGEST).collect();
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("{short:?}{dots}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_families() {
        let unix = |path: &str| Address::Unix(path.into());
        for (line, address, version) in [
            ("1|2|unix|/tmp/p|grpc|\n", unix("/tmp/p"), Version::Two),
            ("1|1|unix|/tmp/p|grpc", unix("/tmp/p"), Version::One),
            (
                "1|2|unix|/tmp/p|grpc||true\r\n",
                unix("/tmp/p"),
                Version::Two,
            ),
            (
                "1|2|tcp|127.0.0.1:10000|grpc|",
                Address::Tcp("127.0.0.1:10000".into()),
                Version::Two,
            ),
        ] {
            assert_eq!(parse(line), Ok(Handshake { address, version }), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_handshake() {
        for (line, said) in [
            ("", "is no plugin: it wrote \"\""),
            ("Hello, world", "is no plugin: it wrote \"Hello, world\""),
            ("2|2|unix|/p|grpc|", "is no plugin, or one of a kind"),
            ("1|3|unix|/p|grpc|", "speaks protocol \"3\""),
            ("1|2|unix|/p|netrpc|", "does not speak gRPC"),
            ("1|2|unix|/p", "does not speak gRPC"),
            ("1|2|unix|/p|grpc|MIIB", "wants TLS"),
            ("1|2|pipe|/p|grpc|", "cannot be reached"),
            ("1|2|unix||grpc|", "cannot be reached"),
        ] {
            let problem = parse(line).unwrap_err();
            assert!(problem.contains(said), "{line:?}: {problem}");
        }
        let long = parse(&"é".repeat(1000)).unwrap_err();
        assert!(long.len() < 400 && long.contains("..."), "{long}");
    }
}
