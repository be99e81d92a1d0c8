//! Serving item actions.

mod ark;
mod velero;

use bytes::Bytes;
use serde::Deserialize;
use tonic::Status;

use super::{Family, Server, Services};
use crate::providers::actions::{ActionError, ActionErrorKind, ItemId};

pub(super) fn add(routes: &mut Services, server: Server) {
    match server.family {
        Family::Velero => velero::add(routes, server),
        Family::Ark10 => ark::ark10::add(routes, server),
        Family::Ark08 => ark::ark08::add(routes, server),
    }
}

/// What of an object names it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: String,
    kind: String,
    metadata: Names,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names {
    namespace: String,
    name: String,
}

/// Returns an item's name. The protocol does not say what its type is called in the plural: its kind stands there.
fn id(json: &Bytes) -> Result<ItemId, Status> {
    let head: Head = serde_json::from_slice(json)
        .map_err(|error| Status::invalid_argument(format!("the item cannot be read: {error}")))?;
    let group = head
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    Ok(ItemId {
        group: group.to_owned(),
        resource: head.kind,
        namespace: head.metadata.namespace,
        name: head.metadata.name,
    })
}

fn status(error: ActionError) -> Status {
    match error.kind {
        ActionErrorKind::NotSupported => Status::unimplemented(error.message),
        ActionErrorKind::TooLarge
        | ActionErrorKind::TimedOut
        | ActionErrorKind::Gone
        | ActionErrorKind::Other => Status::unknown(error.message),
    }
}
