//! Publications.

use std::sync::Arc;

use async_nats::Message;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use spanwire_model::{BusMessage, Error, ErrorKind, NodeId, Publication, Result, Topic};

use super::{
    envelope::{put_long, read_long},
    header,
    inner::{Inner, Unsent},
    router,
};

pub(super) async fn publish(inner: &Inner, topic: &Topic, payload: Bytes) -> Result<()> {
    inner.open()?;
    let mut headers = header::new();
    header::put(&mut headers, header::NODE, inner.config.node().as_str());
    put_long(&mut headers, header::TOPIC_KIND, &topic.kind);
    put_long(&mut headers, header::TOPIC_ID, &topic.id);
    put_long(&mut headers, header::TOPIC_WHAT, &topic.what);
    let sent = inner.publish(inner.subjects.event(topic), None, headers, payload).await;
    sent.map_err(|unsent| {
        let kind = match unsent {
            Unsent::NotConnected => ErrorKind::Unavailable,
            Unsent::TooLarge => ErrorKind::TooLarge,
            Unsent::Refused(_) => ErrorKind::Internal,
        };
        Error::new(kind, format!("event of kind \"{}\" not published: {unsent}", topic.kind))
    })
}

pub(super) async fn subscribe(inner: &Arc<Inner>, kind: &str) -> Result<BoxStream<'static, BusMessage>> {
    inner.open()?;
    let mut gaps = inner.gaps.subscribe();
    let mut messages = router::subscribe(inner, inner.subjects.events(kind)).await?;
    if inner.is_connected() && !inner.settle().await {
        tracing::warn!(kind, "nats did not confirm a subscription; it is made when the connection is back");
    }
    // Not the connection's owner: a subscription that nobody reads must not keep it open.
    let (weak, closed) = (Arc::downgrade(inner), inner.closed.clone());
    let stream = async_stream::stream! {
        loop {
            let message = tokio::select! {
                biased;
                () = closed.cancelled() => break,
                Ok(()) = gaps.changed() => {
                    yield BusMessage::Gap;
                    continue;
                }
                message = messages.next() => message,
            };
            let (Some(message), Some(inner)) = (message, weak.upgrade()) else { break };
            match read(&inner, message) {
                Some(publication) => yield BusMessage::Publication(publication),
                None => tracing::debug!("event that is not understood"),
            }
        }
    };
    Ok(stream.boxed())
}

fn read(inner: &Inner, message: Message) -> Option<Publication> {
    let headers = message.headers.filter(header::is_ours)?;
    let [kind, id, what] = inner.subjects.read_event(&message.subject)?;
    let text = |name, token| read_long(&headers, name, token).ok().flatten();
    let topic = Topic {
        kind: text(header::TOPIC_KIND, kind)?,
        id: text(header::TOPIC_ID, id)?,
        what: text(header::TOPIC_WHAT, what)?,
    };
    let from: NodeId = header::parse(&headers, header::NODE)?;
    Some(Publication { topic, from, payload: message.payload })
}
