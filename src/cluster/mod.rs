//! The Kubernetes API as Ark needs it: discovery, paged raw lists, single objects as bytes, commands
//! in containers.
//!
//! Objects stay bytes here. What is read is passed on as the API server sent it; only a small header (name, namespace,
//! labels, owners) is looked at. This room knows nothing of backups, archives or stores.

pub mod connect;
mod discovery;
mod error;
mod exec;
mod item;
mod list;
mod objects;
mod request;

pub use discovery::{ApiType, Discovery, FailedGroup};
pub use error::{ClusterError, ClusterErrorKind};
pub use exec::{Exec, ExecEnd, Output, ProcessEnd};
pub use item::{Item, ItemHeader};
pub use list::{ListScope, Page, PageRequest, PageSize};
pub use objects::{CreateOptions, Created, NamespaceState, Propagation};
pub use request::{Cluster, RequestStats};
