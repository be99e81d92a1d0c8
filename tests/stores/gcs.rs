//! The `gcp` provider against fake-gcs-server, alone and behind a gate that checks tokens, links and chunks as Google
//! does.

use std::sync::Arc;
use std::time::Duration;

use ark::api::StorageProviderConfig;
use ark::providers::store::{ErrorKind, ObjectStore, StoreError};
use ark::providers::{Environment, registry};
use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::breaks::{what_is_cut_off_leaves_nothing, write_over_short_breaks};
use crate::support::gcs::{ACCOUNT, AccountKey, FakeGcs, Gate};
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::{PATIENCE, unique_name, wait_until};

fn config(bucket: &str, pairs: &[(&str, &str)]) -> StorageProviderConfig {
    StorageProviderConfig {
        name: "gcp".into(),
        bucket: bucket.into(),
        config: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..StorageProviderConfig::default()
    }
}

/// An environment in which nobody answers but who is named.
fn environment(pairs: &[(&str, &str)]) -> Environment {
    [("GCE_METADATA_HOST", "127.0.0.1:1")]
        .iter()
        .chain(pairs)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn with_file(text: &str) -> Environment {
    environment(&[])
        .with_credentials(text.as_bytes().to_vec())
        .unwrap()
}

/// A new bucket behind a gate.
struct Behind {
    fake: FakeGcs,
    gate: Gate,
    key: AccountKey,
    bucket: String,
}

impl Behind {
    async fn new() -> Self {
        let fake = FakeGcs::start().await.unwrap();
        let key = AccountKey::make().await.unwrap();
        let gate = Gate::to(&fake, &key).await.unwrap();
        let bucket = unique_name("stores");
        fake.create_bucket(&bucket).await.unwrap();
        Self {
            fake,
            gate,
            key,
            bucket,
        }
    }

    async fn open_at(&self, endpoint: &str) -> Arc<dyn ObjectStore> {
        let config = config(&self.bucket, &[("storeEndpoint", endpoint)]);
        let account = with_file(&self.key.file(ACCOUNT));
        registry::open(&config, &account).await.unwrap()
    }

    async fn open(&self) -> Arc<dyn ObjectStore> {
        self.open_at(&self.gate.endpoint()).await
    }
}

/// Returns the error of a store that cannot be used; it must be one line without secrets.
async fn refusal(config: &StorageProviderConfig, environment: &Environment) -> StoreError {
    let error = match registry::open(config, environment).await {
        Ok(store) => store.check().await.unwrap_err(),
        Err(error) => error,
    };
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    assert!(!format!("{error:?}").contains("PRIVATE KEY"));
    tracing::info!(%error, "refused");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_gcs_server_keeps_every_promise() {
    let behind = Behind::new().await;
    let store = behind.open_at(&behind.fake.endpoint()).await;
    crate::conformance::object_store_conformance(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept_where_tokens_links_and_chunks_are_checked() {
    let behind = Behind::new().await;
    crate::conformance::object_store_conformance(behind.open().await).await;
    wait_until("no unfinished upload is left", PATIENCE, async || {
        Ok((behind.gate.open_uploads() == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_one_sentence() {
    let behind = Behind::new().await;
    let url = behind.gate.endpoint();
    let endpoint = ("storeEndpoint", url.as_str());
    let good = with_file(&behind.key.file(ACCOUNT));

    let missing = config("absent", &[endpoint]);
    let error = refusal(&missing, &good).await;
    assert_eq!(error.kind, ErrorKind::NoBucket);
    assert_eq!(
        error.to_string(),
        format!(
            "bucket \"absent\" at {url} does not exist; create it or correct backupStorageProvider.bucket"
        )
    );
    let store = registry::open(&missing, &good).await.unwrap();
    for result in [
        store.put("a", Bytes::new()).await,
        store.put_new("a", Bytes::new()).await,
        store.get("a").await.map(drop),
        store.get_range("a", 0..1).await.map(drop),
        store.list("a/").try_collect::<Vec<_>>().await.map(drop),
        store.list_directories("").await.map(drop),
        store.exists("a").await.map(drop),
        store.delete("a").await,
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoBucket, "{error}");
    }

    let there = config(&behind.bucket, &[endpoint]);
    let nobody = refusal(&there, &environment(&[])).await;
    assert_eq!(nobody.kind, ErrorKind::Denied);
    assert!(
        nobody
            .to_string()
            .contains("there are no Google Cloud credentials"),
        "{nobody}"
    );
    let stranger = with_file(&behind.key.file("somebody@else.iam.gserviceaccount.com"));
    let stranger = refusal(&there, &stranger).await;
    assert_eq!(stranger.kind, ErrorKind::Denied);
    assert!(
        stranger.to_string().contains("Invalid Credentials"),
        "{stranger}"
    );
    let garbled = with_file(&behind.key.file(ACCOUNT).replace("MII", "Mii"));
    assert_eq!(refusal(&there, &garbled).await.kind, ErrorKind::Denied);

    behind.gate.trouble(403, 100);
    let denied = refusal(&there, &good).await;
    assert_eq!(denied.kind, ErrorKind::Denied);
    assert!(
        denied.to_string().contains("roles/storage.objectAdmin"),
        "{denied}"
    );
    behind.gate.trouble(0, 0);

    let unreachable = config("there", &[("storeEndpoint", "http://127.0.0.1:1")]);
    assert_eq!(
        refusal(&unreachable, &good).await.kind,
        ErrorKind::Unreachable
    );
    let no_tls = config("there", &[("storeEndpoint", &url.replace("http", "https"))]);
    assert_eq!(refusal(&no_tls, &good).await.kind, ErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_files_and_from_federated_identities() {
    let behind = Behind::new().await;
    let endpoint = behind.gate.endpoint();
    let config = config(&behind.bucket, &[("storeEndpoint", &endpoint)]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.json");
    std::fs::write(&file, behind.key.file(ACCOUNT)).unwrap();
    let from_file = environment(&[("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())]);
    let store = registry::open(&config, &from_file).await.unwrap();
    store.check().await.unwrap();

    // The metadata server of a node or a pod: it gives a token to whoever asks.
    let metadata = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        assert_eq!(request.headers()["metadata-flavor"], "Google");
        axum::Json(serde_json::json!({
            "access_token": "from-metadata", "expires_in": 3600, "token_type": "Bearer",
        }))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let metadata = tokio::spawn(async move { axum::serve(listener, metadata).await });
    behind.gate.accept("from-metadata");
    let of_pod = environment(&[("GCE_METADATA_HOST", &host)]);
    let store = registry::open(&config, &of_pod).await.unwrap();
    store.check().await.unwrap();
    store.put("a", Bytes::from_static(b"x")).await.unwrap();

    // Workload identity federation: a token of somebody else's, exchanged for one of Google's.
    let subject = dir.path().join("subject");
    std::fs::write(&subject, "who-i-am").unwrap();
    let exchange = axum::Router::new().fallback(|body: String| async move {
        assert!(body.contains("subject_token=who-i-am"), "another token");
        axum::Json(serde_json::json!({
            "access_token": "exchanged", "expires_in": 3600, "token_type": "Bearer",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token_url = format!("http://{}/v1/token", listener.local_addr().unwrap());
    let exchange = tokio::spawn(async move { axum::serve(listener, exchange).await });
    let federated = serde_json::json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {"file": subject},
    });
    let federated = with_file(&federated.to_string());
    let refused = refusal(&config, &federated).await;
    assert_eq!(refused.kind, ErrorKind::Denied, "{refused}");
    behind.gate.accept("exchanged");
    let store = registry::open(&config, &federated).await.unwrap();
    store.check().await.unwrap();
    assert!(!store.capabilities().sign, "there is nobody to sign");
    metadata.abort();
    exchange.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_name_the_public_address_and_are_good_for_one_object() {
    let behind = Behind::new().await;
    let endpoint = behind.gate.endpoint();
    let proxy = Proxy::to(behind.gate.port()).await.unwrap();
    let config = config(
        &behind.bucket,
        &[
            ("storeEndpoint", &endpoint),
            ("publicUrl", &proxy.http_url()),
        ],
    );
    let account = with_file(&behind.key.file(ACCOUNT));
    let store = registry::open(&config, &account).await.unwrap();
    store
        .put("a/b", Bytes::from_static(b"for you"))
        .await
        .unwrap();
    store
        .put("a/c", Bytes::from_static(b"not for you"))
        .await
        .unwrap();
    let url = store
        .sign_get("a/b", Duration::from_mins(10))
        .await
        .unwrap();
    assert!(url.as_str().starts_with(&proxy.http_url()), "{url}");
    assert!(url.as_str().contains("X-Goog-Expires=600"), "{url}");
    let answer = crate::conformance::plain_get(url.as_str()).await;
    assert!(answer.ends_with("for you"), "{answer}");
    let other = url.as_str().replace("a/b", "a/c");
    let answer = crate::conformance::plain_get(&other).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_passes_is_waited_for() {
    let behind = Behind::new().await;
    let store = behind.open().await;
    for status in [503, 429] {
        behind.gate.trouble(status, 2);
        store.put("a", Bytes::from_static(b"x")).await.unwrap();
        behind.gate.trouble(status, 2);
        assert!(store.exists("a").await.unwrap());
        behind.gate.trouble(status, 2);
        let keys: Vec<String> = store.list("").try_collect().await.unwrap();
        assert_eq!(keys, ["a"]);
        behind.gate.trouble(status, 2);
        let read: Vec<Bytes> = store.get("a").await.unwrap().try_collect().await.unwrap();
        assert_eq!(read.concat(), b"x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_unreachable() {
    let behind = Behind::new().await;
    let proxy = Proxy::to(behind.gate.port()).await.unwrap();
    proxy.set(Behaviour::Swallow);
    let silent = config(&behind.bucket, &[("storeEndpoint", &proxy.http_url())]);
    let account = with_file(&behind.key.file(ACCOUNT));
    assert_eq!(
        refusal(&silent, &account).await.kind,
        ErrorKind::Unreachable
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_off_leaves_nothing_and_a_short_break_is_bridged() {
    let behind = Behind::new().await;
    let proxy = Proxy::to(behind.gate.port()).await.unwrap();
    behind.gate.known_as(&proxy.http_url());
    let store = behind.open_at(&proxy.http_url()).await;

    what_is_cut_off_leaves_nothing(&store, &proxy).await;
    let expected = write_over_short_breaks(&store, &proxy, "bridged/object").await;
    let read: Vec<Bytes> = store
        .get("bridged/object")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(read.concat() == expected, "each byte is there once");
}
