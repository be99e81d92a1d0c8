//! The `azure` provider against Azurite, which checks keys, signatures and the claims of tokens.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ark::api::StorageProviderConfig;
use ark::providers::store::{ErrorKind, ObjectStore, StoreError};
use ark::providers::{Environment, registry};
use axum::extract::Request;
use bytes::Bytes;
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use crate::breaks::{what_is_cut_off_leaves_nothing, write_over_short_breaks};
use crate::support::azurite::{ACCOUNT, Azurite, Scheme, token};
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::unique_name;

fn config(container: &str, pairs: &[(&str, &str)]) -> StorageProviderConfig {
    StorageProviderConfig {
        name: "azure".into(),
        bucket: container.into(),
        config: [("storageAccount", ACCOUNT)]
            .iter()
            .chain(pairs)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..StorageProviderConfig::default()
    }
}

/// An environment in which no machine's identity answers but the one that is named.
fn environment(pairs: &[(&str, &str)]) -> Environment {
    [("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")]
        .iter()
        .chain(pairs)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn with_key(key: &str) -> Environment {
    environment(&[("AZURE_STORAGE_KEY", key)])
}

/// Opens a new container with further settings, by the account's key.
async fn open(azurite: &Azurite, pairs: &[(&str, &str)]) -> Arc<dyn ObjectStore> {
    let container = unique_name("stores");
    azurite.create_container(&container).await.unwrap();
    let endpoint = azurite.endpoint();
    let mut config = config(&container, &[("storageAccountURI", &endpoint)]);
    for (key, value) in pairs {
        config.config.insert((*key).to_owned(), (*value).to_owned());
    }
    registry::open(&config, &with_key(azurite.key()))
        .await
        .unwrap()
}

/// Returns the error of a store that cannot be used; it must be one line without secrets.
async fn refusal(config: &StorageProviderConfig, environment: &Environment) -> StoreError {
    let error = match registry::open(config, environment).await {
        Ok(store) => store.check().await.unwrap_err(),
        Err(error) => error,
    };
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    tracing::info!(%error, "refused");
    error
}

/// Something of Azure's that gives out JSON: Entra, the manager, a machine's identity.
async fn answering(
    answer: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (String, tokio::task::JoinHandle<()>) {
    let router = axum::Router::new().fallback(move |request: Request| {
        let answer = answer.clone();
        async move {
            let target = format!("{} {}", request.method(), request.uri());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20)
                .await
                .unwrap();
            let (status, json) = answer(&target, &String::from_utf8_lossy(&body));
            (
                http::StatusCode::from_u16(status).unwrap(),
                axum::Json(json),
            )
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let _ended = axum::serve(listener, router).await;
    });
    (address, task)
}

fn gives(token: &str) -> (u16, Value) {
    let json = json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"});
    (200, json)
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_keeps_every_promise() {
    let azurite = Azurite::start(Scheme::Http).await.unwrap();
    crate::conformance::object_store_conformance(open(&azurite, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept_over_tls_with_a_workload_identity() {
    let azurite = Azurite::start(Scheme::Https).await.unwrap();
    let front = azurite.front().await.unwrap();
    let container = unique_name("stores");
    azurite.create_container(&container).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let assertion = dir.path().join("token");
    std::fs::write(&assertion, "who-i-am\n").unwrap();
    let (entra, task) = answering(|target, body| {
        assert_eq!(target, "POST /tenant/oauth2/v2.0/token");
        assert!(
            body.contains("client_assertion=who-i-am&")
                || body.ends_with("client_assertion=who-i-am")
        );
        assert!(
            body.contains("scope=https%3A%2F%2Fstorage.azure.com%2F.default"),
            "another scope"
        );
        gives(&token("https://storage.azure.com"))
    })
    .await;
    let (endpoint, public) = (azurite.endpoint(), Azurite::endpoint_at(&front));
    let certificate = azurite.certificate();
    let config = config(
        &container,
        &[
            ("storageAccountURI", &endpoint),
            // The suite fetches without TLS.
            ("publicUrl", &public),
            ("caCert", certificate.to_str().unwrap()),
            ("activeDirectoryAuthorityURI", &entra),
            ("useAAD", "true"),
        ],
    );
    let identity = environment(&[
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_FEDERATED_TOKEN_FILE", assertion.to_str().unwrap()),
    ]);
    let store = registry::open(&config, &identity).await.unwrap();
    crate::conformance::object_store_conformance(store).await;

    // Without the authority's certificate.
    let mut unknown = config.clone();
    unknown.config.remove("caCert");
    let error = refusal(&unknown, &identity).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.to_string().contains("caCert"), "{error}");
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_one_sentence() {
    let azurite = Azurite::start(Scheme::Http).await.unwrap();
    azurite.create_container("there").await.unwrap();
    let url = azurite.endpoint();
    let endpoint = ("storageAccountURI", url.as_str());
    let good = with_key(azurite.key());

    let missing = config("absent", &[endpoint]);
    let error = refusal(&missing, &good).await;
    assert_eq!(error.kind, ErrorKind::NoBucket);
    assert_eq!(
        error.to_string(),
        format!(
            "container \"absent\" at {url} does not exist; create it or correct backupStorageProvider.bucket"
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

    let there = config("there", &[endpoint]);
    let nobody = refusal(&there, &environment(&[])).await;
    assert_eq!(nobody.kind, ErrorKind::Denied);
    assert!(
        nobody
            .to_string()
            .contains("there are no Azure credentials"),
        "{nobody}"
    );
    // The base64 of "hunter2".
    let stranger = refusal(&there, &with_key("aHVudGVyMg==")).await;
    assert_eq!(stranger.kind, ErrorKind::Denied);
    let garbled = refusal(&there, &with_key("hunter2!")).await;
    assert_eq!(garbled.kind, ErrorKind::Denied);
    assert!(garbled.to_string().contains("not in base64"), "{garbled}");
    let mut named = there.clone();
    named
        .config
        .insert("storageAccountKeyEnvVar".into(), "MY_KEY".into());
    let unset = refusal(&named, &environment(&[])).await;
    assert!(
        unset
            .to_string()
            .contains("MY_KEY, which storageAccountKeyEnvVar names"),
        "{unset}"
    );
    let file = format!("MY_KEY={}", azurite.key());
    let own = environment(&[]).with_credentials(file.into()).unwrap();
    registry::open(&named, &own)
        .await
        .unwrap()
        .check()
        .await
        .unwrap();

    let unreachable = config("there", &[("storageAccountURI", "http://127.0.0.1:1")]);
    assert_eq!(
        refusal(&unreachable, &good).await.kind,
        ErrorKind::Unreachable
    );
    let no_tls = config(
        "there",
        &[("storageAccountURI", &url.replace("http", "https"))],
    );
    assert_eq!(refusal(&no_tls, &good).await.kind, ErrorKind::Unreachable);
    let no_file = config("there", &[endpoint, ("caCert", "/absent.pem")]);
    assert_eq!(refusal(&no_file, &good).await.kind, ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_access_signature_is_enough_but_for_links() {
    let azurite = Azurite::start(Scheme::Http).await.unwrap();
    azurite.create_container("there").await.unwrap();
    let url = azurite.endpoint();
    let config = config("there", &[("storageAccountURI", &url)]);
    let all = environment(&[("AZURE_STORAGE_SAS_TOKEN", &azurite.sas("rwdlc").unwrap())]);
    let store = registry::open(&config, &all).await.unwrap();
    store.check().await.unwrap();
    store.put("a", Bytes::from_static(b"x")).await.unwrap();
    assert!(store.exists("a").await.unwrap());
    assert!(!store.capabilities().sign);
    let link = store.sign_get("a", Duration::from_mins(1)).await;
    assert_eq!(link.unwrap_err().kind, ErrorKind::NotSupported);

    let reader = azurite.sas("r").unwrap();
    let reader = environment(&[("AZURE_STORAGE_SAS_TOKEN", &reader)]);
    let error = refusal(&config, &reader).await;
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    let forged = azurite.sas("rwdlc").unwrap().replace("sig=", "sig=hunter2");
    let forged = environment(&[("AZURE_STORAGE_SAS_TOKEN", &forged)]);
    let error = refusal(&config, &forged).await;
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("sig="), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_may_ask_for_the_accounts_key() {
    let azurite = Azurite::start(Scheme::Http).await.unwrap();
    azurite.create_container("there").await.unwrap();
    let (entra, entra_task) = answering(|target, body| {
        assert_eq!(target, "POST /tenant/oauth2/v2.0/token");
        if body.contains("client_secret=right") {
            return gives("for-the-manager");
        }
        let json = json!({
            "error": "invalid_client",
            "error_description": "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1",
        });
        (401, json)
    })
    .await;
    let key = azurite.key().to_owned();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let targets = Arc::clone(&asked);
    let (manager, manager_task) = answering(move |target, _| {
        targets.lock().unwrap().push(target.to_owned());
        if target.contains("/other/") {
            return (
                403,
                json!({"error": {"code": "AuthorizationFailed", "message": "It may not."}}),
            );
        }
        let keys = json!([
            {"keyName": "key1", "permissions": "READ", "value": "not this one"},
            {"keyName": "key2", "permissions": "FULL", "value": key},
        ]);
        (200, json!({"keys": keys}))
    })
    .await;
    let url = azurite.endpoint();
    let pairs = [
        ("storageAccountURI", url.as_str()),
        ("resourceGroup", "group"),
        ("subscriptionId", "subscription"),
    ];
    let file = |secret: &str| {
        let text = format!(
            "AZURE_TENANT_ID=tenant\nAZURE_CLIENT_ID=client\nAZURE_CLIENT_SECRET={secret}\n\
             AZURE_AUTHORITY_HOST={entra}\nAZURE_RESOURCE_MANAGER_ENDPOINT={manager}\n"
        );
        environment(&[]).with_credentials(text.into()).unwrap()
    };
    let store = registry::open(&config("there", &pairs), &file("right"))
        .await
        .unwrap();
    store.check().await.unwrap();
    assert!(store.capabilities().sign);
    assert_eq!(
        *asked.lock().unwrap(),
        [format!(
            "POST /subscriptions/subscription/resourceGroups/group/providers/Microsoft.Storage/storageAccounts/\
             {ACCOUNT}/listKeys?api-version=2023-01-01"
        )]
    );

    let wrong = refusal(&config("there", &pairs), &file("hunter2")).await;
    assert_eq!(wrong.kind, ErrorKind::Denied);
    assert!(wrong.to_string().contains("AADSTS7000215"), "{wrong}");
    let elsewhere = [pairs[0], ("resourceGroup", "other"), pairs[2]];
    let denied = refusal(&config("there", &elsewhere), &file("right")).await;
    assert_eq!(denied.kind, ErrorKind::Denied);
    assert!(denied.to_string().contains("listKeys"), "{denied}");
    entra_task.abort();
    manager_task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machines_identity_is_asked_next_door() {
    let azurite = Azurite::start(Scheme::Https).await.unwrap();
    azurite.create_container("there").await.unwrap();
    let (metadata, task) = answering(|target, _| {
        assert_eq!(
            target,
            "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com\
             &client_id=mine"
        );
        gives(&token("https://storage.azure.com"))
    })
    .await;
    let (url, certificate) = (azurite.endpoint(), azurite.certificate());
    let config = config(
        "there",
        &[
            ("storageAccountURI", &url),
            ("caCert", certificate.to_str().unwrap()),
        ],
    );
    let identity: Environment = [
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", metadata.as_str()),
        ("AZURE_CLIENT_ID", "mine"),
    ]
    .iter()
    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
    .collect();
    let store = registry::open(&config, &identity).await.unwrap();
    store.check().await.unwrap();
    store.put("a", Bytes::from_static(b"x")).await.unwrap();
    task.abort();

    let (wrong, task) = answering(|_, _| gives(&token("https://elsewhere.example.org"))).await;
    let elsewhere: Environment = [("AZURE_POD_IDENTITY_AUTHORITY_HOST".to_owned(), wrong)]
        .into_iter()
        .collect();
    let error = refusal(&config, &elsewhere).await;
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_passes_is_waited_for() {
    let azurite = Azurite::start(Scheme::Http).await.unwrap();
    let front = azurite.front().await.unwrap();
    let store = open(
        &azurite,
        &[("storageAccountURI", &Azurite::endpoint_at(&front))],
    )
    .await;
    for status in [503, 429] {
        front.trouble(status, 2);
        store.put("a", Bytes::from_static(b"x")).await.unwrap();
        front.trouble(status, 2);
        assert!(store.exists("a").await.unwrap());
        front.trouble(status, 2);
        let keys: Vec<String> = store.list("").try_collect().await.unwrap();
        assert_eq!(keys, ["a"]);
        front.trouble(status, 2);
        let read: Vec<Bytes> = store.get("a").await.unwrap().try_collect().await.unwrap();
        assert_eq!(read.concat(), b"x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_unreachable() {
    let azurite = Azurite::start(Scheme::Http).await.unwrap();
    let proxy = Proxy::to(azurite.port()).await.unwrap();
    proxy.set(Behaviour::Swallow);
    let url = format!("{}/{ACCOUNT}", proxy.http_url());
    let silent = config("there", &[("storageAccountURI", &url)]);
    let error = refusal(&silent, &with_key(azurite.key())).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_leaves_nothing_and_short_breaks_are_bridged() {
    let azurite = Azurite::start(Scheme::Http).await.unwrap();
    let proxy = Proxy::to(azurite.port()).await.unwrap();
    let url = format!("{}/{ACCOUNT}", proxy.http_url());
    let store = open(&azurite, &[("storageAccountURI", &url)]).await;

    what_is_cut_off_leaves_nothing(&store, &proxy).await;
    let expected = write_over_short_breaks(&store, &proxy, "bridged/object").await;
    // Reading goes on where it broke off, too.
    let mut pieces = store.get("bridged/object").await.unwrap();
    let (mut read, mut cuts) = (Vec::new(), 0);
    while let Some(piece) = pieces.try_next().await.unwrap() {
        read.extend_from_slice(&piece);
        if read.len() > (cuts + 1) * (5 << 20) {
            cuts += 1;
            proxy.cut();
        }
    }
    assert!(read == expected, "each byte is there once");
}
