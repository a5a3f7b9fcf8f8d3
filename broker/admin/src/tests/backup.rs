use futures::StreamExt;
use spanwire_rpc::v1;
use tonic::Code;

use super::*;

#[tokio::test]
async fn a_backup_is_its_pieces_and_ends_as_it_ended() {
    let node = Node::start(None).await;
    let mut pieces = node.client().await.backup(v1::BackupRequest {}).await.unwrap().into_inner();
    let mut data = Vec::new();
    let end = loop {
        match soon("a piece", pieces.next()).await.unwrap() {
            Ok(piece) => data.extend(piece.data),
            Err(status) => break status,
        }
    };
    assert_eq!((data.as_slice(), end.code()), (b"one two".as_slice(), Code::Internal));
    node.stop().await;
}
