use spanwire_rpc::v1;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::*;
use crate::Access;

fn list_services() -> Request<impl futures::Stream<Item = ServerReflectionRequest>> {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    Request::new(futures::stream::iter([ServerReflectionRequest { host: String::new(), message_request }]))
}

#[tokio::test]
async fn the_token_opens_broker_and_reflection() {
    let node = Node::start(Some("s3cret")).await;
    let (mut broker, mut reflection) = (node.client().await, ServerReflectionClient::new(node.channel().await));

    for shown in [None, Some("Bearer wrong"), Some("s3cret")] {
        let mut request = Request::new(v1::StatusRequest {});
        let mut listing = list_services();
        if let Some(shown) = shown {
            request.metadata_mut().insert("authorization", shown.parse().unwrap());
            listing.metadata_mut().insert("authorization", shown.parse().unwrap());
        }
        let refused = broker.status(request).await.unwrap_err();
        assert_eq!((refused.code(), kind(&refused)), (Code::Unauthenticated, "unauthenticated"), "{shown:?}");
        assert!(!refused.message().contains("s3cret"));
        assert_eq!(reflection.server_reflection_info(listing).await.unwrap_err().code(), Code::Unauthenticated);
    }
    let mut request = Request::new(v1::StatusRequest {});
    request.metadata_mut().insert("authorization", "Bearer s3cret".parse().unwrap());
    assert_eq!(broker.status(request).await.unwrap().into_inner().node, "here");
    node.stop().await;
}

#[tokio::test]
async fn health_needs_no_token_and_its_watchers_hear_of_the_shutdown() {
    let node = Node::start(Some("s3cret")).await;
    let mut health = HealthClient::new(node.channel().await);
    for service in ["", "spanwire.v1.Broker"] {
        let request = HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
    let mut watched = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(first(&mut watched).await.status, 1);
    node.shutdown.cancel();
    assert_eq!(first(&mut watched).await.status, 2);
    assert!(soon("the end of the watch", watched.next()).await.is_none());
    node.stop().await;
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let node = Node::start(None).await;
    let mut reflection = ServerReflectionClient::new(node.channel().await);
    let mut answers = reflection.server_reflection_info(list_services()).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = first(&mut answers).await.message_response else {
        panic!("no list of services");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for expected in ["spanwire.v1.Broker", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(names.contains(&expected), "{names:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn dropping_the_server_closes_its_connections() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    let mut changes = client.watch_catalog(v1::WatchCatalogRequest {}).await.unwrap().into_inner();
    first(&mut changes).await;
    node.serving.abort();
    assert!(soon("the end of the watch", changes.next()).await.unwrap().is_err());
}

#[tokio::test]
async fn whoever_does_not_leave_is_cut_off() {
    let mut node = Node::serve(|listener, control, shutdown| {
        crate::grpc::serve(listener, control, Access::Loopback, shutdown, Duration::ZERO)
    })
    .await;
    let _silent = tokio::net::TcpStream::connect(node.address).await.unwrap();
    let mut client = node.client().await;
    let request = v1::CallRequest { name: "hangs".into(), ..Default::default() };
    let mut events = client.call(request).await.unwrap().into_inner();
    first(&mut events).await;
    node.shutdown.cancel();
    assert!(soon("the end of the stream", events.next()).await.unwrap().is_err());
    assert_eq!(soon("the cancellation", node.dropped.recv()).await.as_deref(), Some("hangs"));
    soon("the end of the server", node.serving).await.unwrap();
}
