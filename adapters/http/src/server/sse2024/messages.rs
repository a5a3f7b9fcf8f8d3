//! What would be the answer to a POST, as messages of the one stream.

use axum::response::Response as HttpResponse;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header;
use memchr::memmem;
use tokio::sync::mpsc;

use crate::server::gate;

/// Tells the client every message of an answer. What belongs to the answer's own stream only, such as ids to resume it from, is left out.
pub(super) async fn pass_on(response: HttpResponse, tell: &mpsc::Sender<Bytes>) {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_stream = kind.starts_with(gate::SSE);
    let mut pieces = response.into_body().into_data_stream();
    let mut buffer = BytesMut::new();
    while let Some(Ok(piece)) = pieces.next().await {
        buffer.extend_from_slice(&piece);
        while is_stream && let Some(end) = memmem::find(&buffer, END) {
            let event = buffer.split_to(end + END.len()).freeze();
            if let Some(message) = message_of(&event)
                && tell.send(message).await.is_err()
            {
                return;
            }
        }
    }
    if !is_stream && !buffer.is_empty() {
        let _ = tell.send(buffer.freeze()).await;
    }
}

/// The end of an event.
const END: &[u8] = b"\n\n";

/// The data of an event, which this edge writes on one line; `None` for one without data.
fn message_of(event: &Bytes) -> Option<Bytes> {
    let data = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"))?;
    let data = data.trim_ascii();
    (!data.is_empty()).then(|| event.slice_ref(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_has_data() {
        let check = |event: &'static str, message: Option<&'static str>| {
            assert_eq!(message_of(&Bytes::from(event)), message.map(Bytes::from), "{event}");
        };
        check("event: message\ndata: {\"a\": 1}\n\n", Some("{\"a\": 1}"));
        check("id: 7\nevent: message\ndata: {}\n\n", Some("{}"));
        check("id: 7\nretry: 1000\ndata:\n\n", None);
        check(":\n\n", None);
    }
}
