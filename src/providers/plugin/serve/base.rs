//! What every plugin program serves beside its plugins.

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Family, Server, Services};
use crate::providers::plugin::protocol::host::health;
use crate::providers::plugin::protocol::host::health::health_server::{Health, HealthServer};
use crate::providers::plugin::protocol::host::plugin::grpc_controller_server::{
    GrpcController, GrpcControllerServer,
};
use crate::providers::plugin::protocol::host::plugin::grpc_stdio_server::{
    GrpcStdio, GrpcStdioServer,
};
use crate::providers::plugin::protocol::host::plugin::{Empty, StdioData};
use crate::providers::plugin::protocol::velero::generated::plugin_lister_server::{
    PluginLister, PluginListerServer,
};
use crate::providers::plugin::protocol::velero::generated::{
    self as velero, ListPluginsResponse, PluginIdentifier,
};

pub(super) fn add(routes: &mut Services, server: &Server, ending: &CancellationToken) {
    routes
        .add_service(HealthServer::new(Healthy))
        .add_service(GrpcControllerServer::new(Controller(ending.clone())))
        .add_service(GrpcStdioServer::new(Output(ending.clone())));
    if server.family != Family::Ark08 {
        routes.add_service(PluginListerServer::new(Lister(server.offers())));
    }
}

struct Healthy;

#[tonic::async_trait]
impl Health for Healthy {
    async fn check(
        &self,
        _: Request<health::HealthCheckRequest>,
    ) -> Result<Response<health::HealthCheckResponse>, Status> {
        Ok(Response::new(health::HealthCheckResponse {
            status: health::health_check_response::ServingStatus::Serving.into(),
        }))
    }
}

struct Controller(CancellationToken);

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.0.cancel();
        Ok(Response::new(Empty {}))
    }
}

/// Nothing is redirected, so that there is nothing to say; hosts wait for the end of the stream.
struct Output(CancellationToken);

#[tonic::async_trait]
impl GrpcStdio for Output {
    type StreamStdioStream = BoxStream<'static, Result<StdioData, Status>>;

    async fn stream_stdio(
        &self,
        _: Request<()>,
    ) -> Result<Response<Self::StreamStdioStream>, Status> {
        let end = self.0.clone().cancelled_owned();
        let nothing = stream::once(end).filter_map(|()| std::future::ready(None));
        Ok(Response::new(nothing.boxed()))
    }
}

struct Lister(Vec<(&'static str, String)>);

#[tonic::async_trait]
impl PluginLister for Lister {
    async fn list_plugins(
        &self,
        _: Request<velero::Empty>,
    ) -> Result<Response<ListPluginsResponse>, Status> {
        let plugins = self
            .0
            .iter()
            .map(|(kind, name)| PluginIdentifier {
                command: String::new(),
                kind: (*kind).to_owned(),
                name: name.clone(),
            })
            .collect();
        Ok(Response::new(ListPluginsResponse { plugins }))
    }
}
