//! The words of the protocol, made by build.rs of `protos/`: three families, and what hosts and programs say beside it.
#![allow(
    clippy::pedantic,
    clippy::nursery,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    clippy::future_not_send,
    clippy::unwrap_used,
    missing_debug_implementations,
    unreachable_pub,
    let_underscore_drop,
    reason = "generated code"
)]

/// Velero's plugins; most of it is Ark 0.10's too.
pub(super) mod velero {
    pub mod generated {
        include!(concat!(env!("OUT_DIR"), "/velero/generated.rs"));
    }
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/velero/v1.rs"));
    }
    pub mod v2 {
        include!(concat!(env!("OUT_DIR"), "/velero/v2.rs"));
    }
}

/// What is different in Ark 0.10.
pub(super) mod ark10 {
    include!(concat!(env!("OUT_DIR"), "/ark10/generated.rs"));
}

/// Ark 0.8 and 0.9: requests name no plugin.
pub(super) mod ark08 {
    include!(concat!(env!("OUT_DIR"), "/ark08/generated.rs"));
}

/// What every program serves.
pub(super) mod host {
    pub mod plugin {
        include!(concat!(env!("OUT_DIR"), "/host/plugin.rs"));
    }
    pub mod health {
        include!(concat!(env!("OUT_DIR"), "/host/grpc.health.v1.rs"));
    }
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/host/rpc.rs"));
    }
}
