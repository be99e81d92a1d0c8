//! Who asks, and what they may do: tokens, permissions, and the metadata server that gives tokens out.

use http::Method;
use serde_json::json;

use super::super::super::gcs::{ACCOUNT, claims};
use super::super::{Call, Reply, lock};
use super::{ComputeEngine, PROJECT, refusal};

impl ComputeEngine {
    /// Checks who asks.
    pub(super) fn authorise(&self, call: &Call) -> Result<(), Reply> {
        let wrong =
            |message: &str| refusal(401, "authError", message).with("www-authenticate", "Bearer");
        let header = call.headers.get("authorization");
        let token = header
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| wrong("Request is missing required authentication credential."))?;
        let invalid =
            "Request had invalid authentication credentials. Expected OAuth 2 access token.";
        let scope = match claims(&self.public_key, token) {
            Ok(claims) => {
                let now = jiff::Timestamp::now().as_second();
                let good = claims["iss"] == ACCOUNT && claims["exp"].as_i64() > Some(now);
                let scope = claims["scope"].as_str().filter(|_| good);
                scope.map(str::to_owned)
            }
            Err(()) => self.desk.scope_of(token),
        };
        let scope = scope.ok_or_else(|| wrong(invalid))?;
        let enough = ["compute", "cloud-platform"];
        let has = |name: &&str| {
            scope
                .split([' ', ','])
                .any(|scope| scope == format!("https://www.googleapis.com/auth/{name}"))
        };
        if enough.iter().any(has) {
            return Ok(());
        }
        Err(refusal(
            403,
            "insufficientPermissions",
            "Request had insufficient authentication scopes.",
        ))
    }

    /// Checks that whoever asks may do something to a resource.
    pub(super) fn need(&self, permission: &str, resource: &str) -> Result<(), Reply> {
        lock(&self.needed).insert(permission.to_owned());
        let granted = lock(&self.granted);
        if granted.as_ref().is_none_or(|all| all.contains(permission)) {
            return Ok(());
        }
        Err(refusal(
            403,
            "forbidden",
            &format!("Required '{permission}' permission for '{resource}'"),
        ))
    }

    pub(super) fn metadata(&self, call: &Call) -> Reply {
        let flavor = call.headers.get("metadata-flavor");
        if call.method != Method::GET || flavor.is_none_or(|flavor| flavor != "Google") {
            return self.broken(
                call,
                "the metadata server takes GET with Metadata-Flavor: Google",
            );
        }
        match call.path.as_str() {
            "/computeMetadata/v1/project/project-id" => Reply::new(200, PROJECT.into()),
            "/computeMetadata/v1/instance/service-accounts/default/token" => {
                let scopes = call.query.get("scopes").map_or("", String::as_str);
                let (token, seconds) = self.desk.issue(scopes);
                Reply::new(
                    200,
                    json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}),
                )
            }
            _ => self.broken(call, "no such metadata"),
        }
    }
}
