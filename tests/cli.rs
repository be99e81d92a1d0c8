//! The command line from outside, without a cluster: help, bad input, and what is printed without asking anybody.
//! Each case pins standard output, standard error and the exit code.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not the helpers beside them"
)]

#[path = "cli/alone.rs"]
mod alone;

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;

use assert_cmd::Command;

/// Runs `ark` with nothing of the caller's environment, so that no kubeconfig is found.
fn ark(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("ark").unwrap();
    command.env_clear().env("HOME", "/nonexistent").args(args);
    command
}

/// Returns exit code, standard output and standard error, as one text.
fn transcript(args: &[&str]) -> String {
    let output = ark(args).output().unwrap();
    format!(
        "$ ark {}\n{}{}exit code {}\n",
        args.join(" "),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap_or(-1)
    )
}

fn transcripts(cases: &[&[&str]]) -> String {
    cases
        .iter()
        .map(|args| transcript(args))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn help() {
    insta::with_settings!({ omit_expression => true }, {
    insta::assert_snapshot!(transcripts(&[
        &["--help"],
        &["backup", "--help"],
        &["backup", "create", "--help"],
        &["backup", "get", "--help"],
        &["backup", "delete", "--help"],
        &["backup", "describe", "--help"],
        &["backup", "logs", "--help"],
        &["backup", "download", "--help"],
        &["restore", "create", "--help"],
        &["restore", "delete", "--help"],
        &["schedule", "--help"],
        &["schedule", "create", "--help"],
        &["backup-location", "create", "--help"],
        &["snapshot-location", "create", "--help"],
        &["get", "--help"],
        &["install", "--help"],
        &["plugin", "add", "--help"],
        &["plugin", "get", "--help"],
        &["plugin", "remove", "--help"],
        &["client", "config", "--help"],
        &["client", "config", "get", "--help"],
        &["client", "config", "set", "--help"],
        &["completion", "--help"],
        &["bug", "--help"],
    ]));
    });
}

#[test]
fn both_forms_take_the_same_flags() {
    for (noun_first, verb_first) in [
        (["backup", "create"], ["create", "backup"]),
        (["backup", "get"], ["get", "backups"]),
        (["backup", "get"], ["get", "backup"]),
        (["backup", "describe"], ["describe", "backups"]),
        (["backup", "describe"], ["describe", "backup"]),
        (["backup", "delete"], ["delete", "backup"]),
        (["backup", "delete"], ["delete", "backups"]),
        (["restore", "create"], ["create", "restore"]),
        (["restore", "get"], ["get", "restores"]),
        (["restore", "get"], ["get", "restore"]),
        (["restore", "describe"], ["describe", "restores"]),
        (["restore", "describe"], ["describe", "restore"]),
        (["restore", "delete"], ["delete", "restore"]),
        (["restore", "delete"], ["delete", "restores"]),
        (["schedule", "create"], ["create", "schedule"]),
        (["schedule", "get"], ["get", "schedules"]),
        (["schedule", "get"], ["get", "schedule"]),
        (["schedule", "describe"], ["describe", "schedules"]),
        (["schedule", "describe"], ["describe", "schedule"]),
        (["schedule", "delete"], ["delete", "schedule"]),
        (["schedule", "delete"], ["delete", "schedules"]),
        (["backup-location", "create"], ["create", "backup-location"]),
        (["backup-location", "get"], ["get", "backup-locations"]),
        (["backup-location", "get"], ["get", "backup-location"]),
        (["backup-location", "delete"], ["delete", "backup-location"]),
        (
            ["snapshot-location", "create"],
            ["create", "snapshot-location"],
        ),
        (["snapshot-location", "get"], ["get", "snapshot-locations"]),
        (["snapshot-location", "get"], ["get", "snapshot-location"]),
        (
            ["snapshot-location", "delete"],
            ["delete", "snapshot-location"],
        ),
    ] {
        // All but the usage line, which names the form.
        let help = |form: [&str; 2]| {
            transcript(&[form[0], form[1], "--help"])
                .lines()
                .filter(|line| !line.starts_with("Usage:") && !line.starts_with("$ "))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(help(noun_first), help(verb_first), "{verb_first:?}");
    }
}

#[test]
fn bad_input() {
    insta::with_settings!({ omit_expression => true }, {
    insta::assert_snapshot!(transcripts(&[
        &["backup", "create"],
        &["backup", "create", "Nginx_Backup"],
        &["backup", "create", "b", "--ttl", "soon"],
        &["backup", "create", "b", "--ttl", "-1h"],
        &["backup", "create", "b", "-l", "app in nginx"],
        &["backup", "create", "b", "--include-namespaces", "a,,b"],
        &["backup", "create", "b", "--include-namespaces", ""],
        &[
            "backup",
            "create",
            "b",
            "--include-namespaces",
            "*,a",
            "--exclude-namespaces",
            "a"
        ],
        &["backup", "create", "b", "--labels", "app"],
        &["backup", "create", "b", "--labels", "app=a b"],
        &["backup", "create", "b", "--snapshot-volumes=maybe"],
        &["backup", "create", "b", "-o", "xml"],
        &[
            "backup",
            "create",
            "B",
            "--ttl",
            "1w",
            "--exclude-resources",
            "*"
        ],
        &["backup", "delete"],
        &["backup", "delete", "b", "--all"],
        &["restore", "delete", "--all", "-l", "app=nginx"],
        &["backup", "delete", "-l", ""],
        &["backup", "delete", "-l", "a b"],
        &["backup", "get", "b", "-l", "app=nginx"],
        &["backup", "get", "-l", "a=b=c d"],
        &["restore", "create"],
        &["restore", "create", "b", "--namespace-mappings", "a:c,b:c"],
        &["restore", "create", "b", "--namespace-mappings", "a"],
        &[
            "restore",
            "create",
            "b",
            "--namespace-mappings",
            "a:b",
            "--namespace-mappings",
            "a:c"
        ],
        &["restore", "create", "b", "--include-resources", "nodes"],
        &["restore", "create", "R", "--from-backup", "b"],
        &["backup", "get", "-n", "Ark"],
        &["install", "--dry-run", "--image", "two words"],
        &["install", "--dry-run", "--bucket", "b", "--prefix", "p"],
        &["install", "--dry-run", "--provider", "s3", "--config", "region"],
        &[
            "install",
            "--dry-run",
            "--provider",
            "aws",
            "--bucket",
            "b",
            "--secret-file",
            "/nonexistent/file"
        ],
        &["install", "--rbac", "admin"],
        &["plugin", "add", "two words"],
        &["plugin", "add", "p", "--image-pull-policy", "sometimes"],
        &["plugin", "remove"],
        &["client", "config", "set"],
        &["completion"],
        &["completion", "tcsh"],
        &["restic"],
        &["restic", "repo", "get", "--help", "-x"],
        &["frobnicate"],
    ]));
    });
}

#[test]
fn bad_schedules_and_locations() {
    insta::with_settings!({ omit_expression => true }, {
    insta::assert_snapshot!(transcripts(&[
        &["schedule", "create", "s"],
        &["schedule", "create", "s", "--schedule", "61 * * * *"],
        &["schedule", "create", "s", "--schedule", ""],
        &["schedule", "create", "S", "--schedule", "@daily", "--ttl", "soon", "--labels", "a"],
        &["schedule", "create", &"s".repeat(49), "--schedule", "@daily"],
        &["schedule", "create", "s", "--schedule", "@daily", "--storage-location", ""],
        &["schedule", "pause"],
        &["backup", "create", "b", "--storage-location", "A", "--volume-snapshot-locations", "a,,b"],
        &["backup", "create", "--from-schedule", "s", "--ttl", "1h"],
        &["restore", "create", "--from-schedule", "s", "--from-backup", "b"],
        &["restore", "create", "--from-schedule", "S"],
        &["backup-location", "create", "l", "--provider", "aws"],
        &["backup-location", "create", "l", "--provider", "aws", "--bucket", "ark/prod"],
        &["backup-location", "create", "L", "--provider", "", "--bucket", "a b", "--prefix", "a//b", "--config", "x",
          "--credential", "secret", "--labels", "a=b c", "--backup-sync-period", "often"],
        &["backup-location", "create", "l", "--provider", "aws", "--bucket", "ark", "--access-mode", "readonly"],
        &["snapshot-location", "create", "l", "--provider", "aws", "--credential", "A=b"],
        &["backup", "logs", "b", "--timeout", "0"],
        &["backup", "download"],
    ]));
    });
}

#[test]
fn create_prints_schedules_and_locations() {
    insta::with_settings!({ omit_expression => true, filters => [(r"s-\d{14}", "s-<time>")] }, {
        insta::assert_snapshot!(transcripts(&[
            // Every flag of the template is kept.
            &["schedule", "create", "s", "--schedule", "CRON_TZ=Europe/Berlin 0 3 * * *", "--keep-newest", "--paused",
              "--include-namespaces", "a,b", "--exclude-namespaces", "c", "--include-resources", "pods,secrets",
              "--exclude-resources", "events", "-l", "app=nginx", "--labels", "tier=web", "--ttl", "24h",
              "--snapshot-volumes=false", "--include-cluster-resources", "--storage-location", "second",
              "--volume-snapshot-locations", "x,y", "--allow-empty", "-o", "yaml"],
            &["create", "schedule", "s", "--schedule", "@every 6h", "-o", "table"],
            &["backup", "create", "b", "--storage-location", "second", "-o", "table"],
            &["restore", "create", "--from-schedule", "s", "-o", "yaml"],
            &["restore", "create", "r", "--from-schedule", "s", "-o", "table"],
            &["backup-location", "create", "default", "--provider", "aws", "--bucket", "ark", "-o", "yaml"],
            &["create", "backup-location", "l", "--provider", "aws", "--bucket", "/ark/", "--prefix", "/prod/eu/",
              "--config", "region=minio,s3Url=http://minio:9000", "--config", "s3ForcePathStyle=true", "--labels",
              "a=b,c=d", "--access-mode", "ReadOnly", "--default", "--credential", "creds=cloud",
              "--backup-sync-period", "90s", "-o", "yaml"],
            &["snapshot-location", "create", "l", "--provider", "aws", "--config", "region=us-east-1", "--labels",
              "a=b", "--credential", "creds=cloud", "-o", "yaml"],
            &["create", "snapshot-location", "l", "--provider", "aws", "-o", "table"],
        ]));
    });
}

#[test]
fn create_prints_without_submitting() {
    insta::with_settings!({ omit_expression => true, filters => [(r"b-\d{14}", "b-<time>")] }, {
        insta::assert_snapshot!(transcripts(&[
            &["backup", "create", "nginx-backup", "-l", "app=nginx", "-o", "yaml"],
            &["create", "backup", "b", "--ttl", "30d", "--include-namespaces", "a", "--include-namespaces", "b,c",
              "--labels", "x=1", "--labels", "y=2", "--snapshot-volumes", "--include-cluster-resources=false",
              "--allow-empty", "-n", "elsewhere", "-o", "json"],
            &["backup", "create", "b", "--snapshot-volumes=", "--labels", "tier=web", "-o", "table",
              "--label-columns", "example.org/tier,tier", "--show-labels"],
            &["restore", "create", "b", "-o", "yaml"],
            &["restore", "create", "--from-backup", "b", "-o", "table"],
            &["create", "restore", "r", "--from-backup", "b", "--namespace-mappings", "a:c,d:e", "--no-labels",
              "--restore-volumes=false", "-l", "tier in (web,db)", "-o", "yaml"],
        ]));
    });
}

#[test]
fn install_prints_the_manifests() {
    let output = ark(&["install", "--dry-run"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let committed: String = ["00-prereqs.yaml", "10-deployment.yaml"]
        .iter()
        .map(|name| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("manifests/common")
                .join(name);
            std::fs::read_to_string(path).unwrap()
        })
        .collect();
    let without_comments: String = committed
        .split_inclusive('\n')
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(printed, without_comments);
}

#[test]
fn version_needs_nobody() {
    insta::with_settings!({ omit_expression => true, filters => [(r"(?m)^(Version|Git commit|Git tree state): .+$", "$1: <set>")] }, {
        insta::assert_snapshot!(transcript(&["version"]));
    });
}

#[test]
fn a_cluster_that_cannot_be_found() {
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("kubeconfig");
    let path = kubeconfig.to_str().unwrap();
    let mut texts = vec![transcript(&["backup", "get"])];
    texts.push(transcript(&[
        "backup",
        "get",
        "--kubeconfig",
        "/nonexistent/file",
    ]));
    std::fs::write(&kubeconfig, "apiVersion: v1\nkind: Config\n").unwrap();
    texts.push(transcript(&["backup", "get", "--kubeconfig", path]));
    texts.push(transcript(&[
        "restore",
        "get",
        "--kubeconfig",
        path,
        "--kubecontext",
        "prod",
    ]));
    std::fs::write(&kubeconfig, "{{").unwrap();
    let broken = transcript(&["backup", "get", "--kubeconfig", path]);
    assert!(
        broken.contains("An error occurred: the kubeconfig cannot be used"),
        "{broken}"
    );
    assert!(broken.ends_with("exit code 1\n"), "{broken}");
    insta::with_settings!({ omit_expression => true, filters => [(regex_of(path).as_str(), "<kubeconfig>")] }, {
        insta::assert_snapshot!(texts.join("\n"));
    });
}

#[test]
fn a_cluster_that_does_not_answer() {
    let home = tempfile::tempdir().unwrap();
    // Bound and dropped: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let path = kubeconfig(home.path(), &format!("https://{address}"));
    let text = transcript(&["backup", "get", "--kubeconfig", &path]);
    assert!(
        text.contains(
            "An error occurred: cannot reach the Kubernetes API server at https://127.0.0.1:"
        ),
        "{text}"
    );
    assert!(text.contains("Connection refused"), "{text}");
    assert!(text.ends_with("exit code 1\n"), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn a_cluster_without_our_types() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = kubeconfig(
        home.path(),
        &format!("http://{}", listener.local_addr().unwrap()),
    );
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        // What an API server says about a path it does not serve.
        std::io::Write::write_all(
            &mut stream,
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 19\r\n\r\n404 page not found\n",
        )
        .unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let text = transcript(&["backup", "get", "--kubeconfig", &path]);
    assert!(
        text.contains("does not know Ark's types; set them up with `ark install`"),
        "{text}"
    );
    let request = server.join().unwrap().to_lowercase();
    assert!(
        request.starts_with("get /apis/ark.heptio.com/v1/namespaces/heptio-ark/backups"),
        "{request}"
    );
    assert!(request.contains("user-agent: ark/"), "{request}");
}

/// Writes a kubeconfig for a server and returns its path.
fn kubeconfig(directory: &Path, server: &str) -> String {
    let path = directory.join("kubeconfig");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: t, clusters: [{{name: t, cluster: {{server: '{server}'}}}}], \
         contexts: [{{name: t, context: {{cluster: t, user: t}}}}], users: [{{name: t, user: {{}}}}]}}"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Escapes what a path may hold that means something in a regular expression.
fn regex_of(path: &str) -> String {
    path.replace('.', r"\.")
}
