//! Who asks, and what they may do: tokens, actions, and those that give tokens out.

use std::collections::BTreeMap;

use http::Method;
use serde_json::json;

use super::super::{Call, Reply, lock};
use super::{ASSERTION, CLIENT, ManagedDisks, SECRET, refusal};

impl ManagedDisks {
    /// Gives out a token to an application.
    pub(super) fn entra(&self, call: &Call) -> Reply {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(&call.body)
            .into_owned()
            .collect();
        let value = |name: &str| form.get(name).map_or("", String::as_str);
        let kind = call.headers.get("content-type");
        let right = call.method == Method::POST
            && kind.is_some_and(|kind| kind == "application/x-www-form-urlencoded")
            && value("grant_type") == "client_credentials"
            && value("scope") == format!("{}/.default", lock(&self.manager));
        if !right {
            return self.broken(call, &format!("not as a client asks for a token: {form:?}"));
        }
        let proof = match (value("client_secret"), value("client_assertion")) {
            (secret, "") => secret == SECRET,
            ("", assertion) => {
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                assertion == ASSERTION && value("client_assertion_type") == kind
            }
            _ => false,
        };
        if proof && value("client_id") == CLIENT {
            let (token, seconds) = self.desk.issue("manager");
            return Reply::new(
                200,
                json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}),
            );
        }
        Reply::new(
            401,
            json!({
                "error": "invalid_client",
                "error_description": "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1",
            }),
        )
    }

    /// Gives out a token to a machine.
    pub(super) fn identity(&self, call: &Call) -> Reply {
        let right = call.method == Method::GET
            && call
                .headers
                .get("metadata")
                .is_some_and(|value| value == "true")
            && call
                .query
                .get("api-version")
                .is_some_and(|version| version == "2018-02-01")
            && call.query.get("resource") == Some(&*lock(&self.manager));
        if !right
            || call
                .queries(&["api-version", "resource"], &["client_id"])
                .is_err()
        {
            return self.broken(call, "not as a machine asks for a token");
        }
        let (token, seconds) = self.desk.issue("manager");
        Reply::new(
            200,
            json!({"access_token": token, "expires_in": seconds.to_string(), "token_type": "Bearer"}),
        )
    }

    pub(super) fn authorise(&self, call: &Call) -> Result<(), Reply> {
        let wrong = |code: &str, message: &str| Err(refusal(401, code, message));
        let header = call.headers.get("authorization");
        let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        match token.map(|token| self.desk.scope_of(token)) {
            Some(Some(_)) => Ok(()),
            Some(None) => wrong(
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            ),
            None => wrong(
                "AuthenticationFailed",
                "The 'Authorization' header is missing.",
            ),
        }
    }

    pub(super) fn need(&self, action: &str, scope: &str, linked: bool) -> Result<(), Reply> {
        let action = format!("Microsoft.Compute/{action}");
        lock(&self.needed).insert(action.clone());
        let granted = lock(&self.granted);
        if granted.as_ref().is_none_or(|all| all.contains(&action)) {
            return Ok(());
        }
        let code = if linked {
            "LinkedAuthorizationFailed"
        } else {
            "AuthorizationFailed"
        };
        Err(refusal(
            403,
            code,
            &format!(
                "The client 'c' with object id 'o' does not have authorization to perform action '{action}' over scope \
                 '{scope}'."
            ),
        ))
    }
}
