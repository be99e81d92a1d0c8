//! Keys, certificates and tokens of one control plane, made anew for each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// What the programs of a control plane and its clients need to trust each other.
#[derive(Debug)]
pub struct Credentials {
    pub authority_file: PathBuf,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub service_account_key_file: PathBuf,
    pub service_account_public_file: PathBuf,
    pub tokens_file: PathBuf,
    pub kubeconfig_file: PathBuf,
    pub admin_token: String,
    /// The authority's certificate as clients of the `kube` crate take it.
    pub authority_der: Vec<u8>,
}

impl Credentials {
    /// Makes all of them and writes them to `folder`; the kubeconfig speaks to `url` as an administrator.
    pub fn make(folder: &Path, url: &str) -> Result<Self> {
        let authority = authority().context("make the certificate authority")?;
        let (certificate, key) =
            server_pair(&authority).context("make the servers' certificate")?;
        // ECDSA as PKCS#8, with the public half in a file of its own: the API server wants both forms.
        let service_accounts =
            KeyPair::generate().context("make the key of service account tokens")?;
        let admin_token = uuid::Uuid::new_v4().simple().to_string();
        let authority_file = write(folder, "ca.crt", authority.pem())?;
        let kubeconfig = kubeconfig(url, &authority_file, &admin_token)?;
        Ok(Self {
            authority_file,
            certificate_file: write(folder, "server.crt", certificate)?,
            key_file: write(folder, "server.key", key)?,
            service_account_key_file: write(folder, "sa.key", service_accounts.serialize_pem())?,
            service_account_public_file: write(
                folder,
                "sa.pub",
                service_accounts.public_key_pem(),
            )?,
            tokens_file: write(
                folder,
                "tokens.csv",
                format!("{admin_token},admin,admin,\"system:masters\"\n"),
            )?,
            kubeconfig_file: write(folder, "kubeconfig", kubeconfig)?,
            admin_token,
            authority_der: authority.der().to_vec(),
        })
    }
}

fn write(folder: &Path, name: &str, text: String) -> Result<PathBuf> {
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "control plane of a test");
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Returns certificate and key of the API server, and of the pretended kubelet.
fn server_pair(
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default.svc",
        "10.96.0.1",
    ];
    let params = CertificateParams::new(names.map(str::to_owned))?;
    let key = KeyPair::generate()?;
    Ok((
        params.signed_by(&key, authority)?.pem(),
        key.serialize_pem(),
    ))
}

fn kubeconfig(url: &str, authority_file: &Path, token: &str) -> Result<String> {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": authority_file}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    });
    // JSON is YAML, and kubectl reads it as such.
    Ok(serde_json::to_string_pretty(&config)?)
}
