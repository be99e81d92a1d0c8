//! moto: Amazon's EC2 and S3 pretended, in one process. Told to, it checks keys and signatures as Amazon does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::Value;

use super::control_plane::assets;
use super::control_plane::ports;
use super::control_plane::process::{Janitor, Lifetime, Process, Start};
use super::front::Front;
use super::signing::Signer;
use super::{unique_name, wait_until};

/// The region that tests use; it has zones a to f.
pub const REGION: &str = "us-east-1";
/// The version of EC2's API.
const EC2_VERSION: &str = "2016-11-15";
/// The version of IAM's API.
const IAM_VERSION: &str = "2010-05-08";

/// A running moto with nothing in it.
#[derive(Debug)]
pub struct Moto {
    // Fields are dropped in this order: the folder goes after the program.
    process: Mutex<Process>,
    _janitor: Janitor,
    folder: PathBuf,
    scheme: &'static str,
    port: u16,
    client: reqwest::Client,
    /// The key of whoever the tests' own calls are from, and its secret.
    caller: Mutex<(String, String)>,
}

impl Moto {
    /// Starts it, after installing it if need be; it ends with this process.
    pub async fn start() -> Result<Self> {
        Self::start_over("http").await
    }

    /// Starts it with a certificate that nobody knows.
    pub async fn start_with_tls() -> Result<Self> {
        Self::start_over("https").await
    }

    async fn start_over(scheme: &'static str) -> Result<Self> {
        super::init();
        let python = tokio::task::spawn_blocking(assets::ensure_moto)
            .await
            .context("install moto")??;
        let folder: PathBuf = std::env::temp_dir().join(unique_name("ark-moto"));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let janitor = Janitor::of(&folder)?;
        let logs = assets::new_logs()?;
        fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
        let [port] = ports::free()?;
        let mut args = ["-m", "moto.server", "-H", "127.0.0.1", "-p"]
            .map(str::to_owned)
            .to_vec();
        args.push(port.to_string());
        let mut client = reqwest::Client::builder();
        if scheme == "https" {
            let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
            fs::write(folder.join("cert.pem"), made.cert.pem())?;
            fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
            for (flag, file) in [("-c", "cert.pem"), ("-k", "key.pem")] {
                args.extend([flag.to_owned(), folder.join(file).display().to_string()]);
            }
            client = client.tls_danger_accept_invalid_certs(true);
        }
        let start = Start {
            name: "moto",
            program: &python,
            args,
            environment: Vec::new(),
            folder: &folder,
            logs: &logs,
        };
        let process = Mutex::new(Process::start(&start, Lifetime::Ours)?);
        let moto = Self {
            process,
            _janitor: janitor,
            folder,
            scheme,
            port,
            client: client.build()?,
            caller: Mutex::new(("nobody".to_owned(), "nothing".to_owned())),
        };
        wait_until("moto is ready", Duration::from_mins(1), async || {
            if let Err(dead) = moto.check() {
                return Ok(Some(Err(dead)));
            }
            let page = format!("{}/moto-api/", moto.endpoint());
            moto.client.get(page).send().await?;
            Ok(Some(Ok(())))
        })
        .await??;
        Ok(moto)
    }

    fn check(&self) -> Result<()> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check()
    }

    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Returns its port, for a proxy in front of it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the file of its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// Starts something that passes on what it is asked.
    pub async fn front(&self) -> Result<Front> {
        Front::to(self.endpoint(), self.client.clone()).await
    }

    /// Makes a call of EC2 as nobody in particular; returns the answer.
    pub async fn ec2(&self, action: &str, params: &[(&str, &str)]) -> Result<String> {
        self.call("ec2", EC2_VERSION, action, params).await
    }

    async fn call(
        &self,
        service: &str,
        version: &str,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<String> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", version)
            .extend_pairs(params)
            .finish();
        let form = ("content-type", "application/x-www-form-urlencoded");
        let url = format!("{}/", self.endpoint());
        let answer = self
            .send(Method::POST, &url, service, &[form], body)
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{action} gave {status}: {text}");
        Ok(text)
    }

    /// Makes a signed request: by the signature moto tells which service is meant.
    async fn send(
        &self,
        method: Method,
        url: &str,
        service: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<reqwest::Response> {
        let (key, secret) = self.caller().clone();
        let signer = Signer {
            key: &key,
            secret: &secret,
            region: REGION,
            service,
        };
        let signed = signer.headers(&method, url, headers, body.as_bytes())?;
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        Ok(request.send().await?)
    }

    fn caller(&self) -> MutexGuard<'_, (String, String)> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a volume in a zone, and returns its id.
    pub async fn create_volume(&self, zone: &str, params: &[(&str, &str)]) -> Result<String> {
        let all = [&[("AvailabilityZone", zone)], params].concat();
        let answer = self.ec2("CreateVolume", &all).await?;
        element(&answer, "volumeId").context("a volume without an id")
    }

    /// Removes a volume.
    pub async fn delete_volume(&self, id: &str) -> Result<()> {
        self.ec2("DeleteVolume", &[("VolumeId", id)])
            .await
            .map(drop)
    }

    /// Returns the tags of a volume or snapshot.
    pub async fn tags(&self, id: &str) -> Result<BTreeMap<String, String>> {
        let filter = [("Filter.1.Name", "resource-id"), ("Filter.1.Value.1", id)];
        let answer = self.ec2("DescribeTags", &filter).await?;
        Ok(answer
            .split("<item>")
            .skip(1)
            .map(|item| {
                let part = |name| element(item, name).unwrap_or_default();
                (part("key"), part("value"))
            })
            .collect())
    }

    /// Makes a user who may do what a policy says, and returns the key and its secret.
    pub async fn create_user(&self, name: &str, policy: &str) -> Result<(String, String)> {
        let name = ("UserName", name);
        let call = async |action, params: &[(&str, &str)]| {
            self.call("iam", IAM_VERSION, action, &[&[name], params].concat())
                .await
        };
        call("CreateUser", &[]).await?;
        call(
            "PutUserPolicy",
            &[("PolicyName", "all"), ("PolicyDocument", policy)],
        )
        .await?;
        let answer = call("CreateAccessKey", &[]).await?;
        let part = |name| element(&answer, name).context("a key without its parts");
        Ok((part("AccessKeyId")?, part("SecretAccessKey")?))
    }

    /// Checks keys, signatures and policies from now on. The tests' own calls may do everything.
    pub async fn trust_nobody(&self) -> Result<()> {
        let everything = r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;
        let key = self.create_user("tests", everything).await?;
        *self.caller() = key;
        let page = format!("{}/moto-api/reset-auth", self.endpoint());
        let answer = self.client.post(page).body("0").send().await?;
        ensure!(
            answer.status().is_success(),
            "reset-auth gave {}",
            answer.status()
        );
        Ok(())
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        let url = format!("{}/{name}", self.endpoint());
        let answer = self
            .send(Method::PUT, &url, "s3", &[], String::new())
            .await?;
        ensure!(
            answer.status().is_success(),
            "making bucket {name} gave {}",
            answer.status()
        );
        Ok(())
    }
}

/// Returns the policy in the page on AWS, for a bucket. Which of EC2's things it is about is left out: moto takes every
/// call for one about all of them. Nor does it look at conditions.
pub fn documented_policy(bucket: &str) -> Result<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers/aws.md");
    let text = fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
    let policy = text
        .split_once("cat > ark-policy.json <<END\n")
        .and_then(|(_, rest)| rest.split_once("\nEND\n"))
        .context("a policy in the page on AWS")?;
    let mut policy: Value = serde_json::from_str(&policy.0.replace("$BUCKET", bucket))?;
    let statements = policy["Statement"].as_array_mut().context("statements")?;
    for statement in statements {
        if statement["Resource"].to_string().contains("arn:aws:ec2:") {
            statement["Resource"] = "*".into();
        }
    }
    Ok(policy.to_string())
}

/// Returns the text of the first XML element of a name.
pub fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inside.replace("&quot;", "\"").replace("&amp;", "&"))
}
