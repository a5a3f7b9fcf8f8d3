//! One attempt to put a message into a log.

use std::time::Duration;

use async_nats::{
    HeaderMap, Request, RequestErrorKind,
    connection::State,
    header::NATS_MESSAGE_ID,
    jetstream::{self, ErrorCode},
};
use bytes::Bytes;
use serde::Deserialize;
use spanwire_model::{Shard, TraceContext};
use spanwire_telemetry::names;
use tokio::time::timeout;

use super::streams::Streams;

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// It is in the log. An operation that the server had already has its first place.
    At(u64),
    /// It is not in the log, and may be tried again: nobody takes entries at the moment.
    NotNow(String),
    /// It is not in the log, and trying again does not help.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    error: Option<jetstream::Error>,
}

/// Publishes, and waits for the acknowledgement. For two minutes the server takes one message of an id.
pub(super) async fn publish(
    streams: &Streams,
    shard: Shard,
    id: &str,
    trace: Option<&TraceContext>,
    payload: Bytes,
    within: Duration,
) -> Published {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    if let Some(trace) = trace {
        headers.insert(names::TRACEPARENT, trace.traceparent().as_str());
    }
    let request = Request::new().headers(headers).payload(payload).timeout(Some(within));
    let client = streams.client();
    if client.connection_state() != State::Connected {
        // Else it would wait in the client, and be sent at any later time.
        return Published::NotNow("this node has no connection to nats".into());
    }
    // The client's own limit begins when it takes the request, which may be late.
    let sent = timeout(within, client.send_request(streams.names().subject(shard), request)).await;
    let Ok(sent) = sent else { return Published::Unknown("timed out".into()) };
    match sent {
        Ok(message) => read(&message.payload, &streams.names().stream(shard)),
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders => Published::NotNow("no leader takes entries".into()),
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                Published::Refused(error.to_string())
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other => Published::Unknown(error.to_string()),
        },
    }
}

fn read(payload: &[u8], stream: &str) -> Published {
    let answer: Answer = match serde_json::from_slice(payload) {
        Ok(answer) => answer,
        Err(error) => return Published::Unknown(format!("an acknowledgement that cannot be read: {error}")),
    };
    match answer.error {
        None if answer.stream == stream && answer.seq > 0 => Published::At(answer.seq),
        None => Published::Refused(format!("stream \"{}\" took it instead of \"{stream}\"", answer.stream)),
        // The limits are looked at before it is proposed; the same code also says that a server stopped after it was.
        Some(error)
            if error.error_code() == ErrorCode::STREAM_STORE_FAILED && error.to_string().contains("maximum") =>
        {
            Published::Refused(format!("the log does not take more: {error}"))
        }
        Some(error) if error.error_code() == ErrorCode::CLUSTER_NOT_AVAILABLE || error.code() == 429 => {
            Published::NotNow(error.to_string())
        }
        Some(error) if error.code() == 400 => Published::Refused(error.to_string()),
        // Among them: the same operation is being written at this moment.
        Some(error) => Published::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_says_where_or_why_not() {
        let read = |text: &str| read(text.as_bytes(), "S");
        assert_eq!(read(r#"{"stream":"S","seq":7}"#), Published::At(7));
        assert_eq!(read(r#"{"stream":"S","seq":7,"duplicate":true}"#), Published::At(7));
        assert!(matches!(read(r#"{"stream":"T","seq":7}"#), Published::Refused(_)));
        let error = r#"{"error":{"code":503,"err_code":10008,"description":"x"},"stream":"S","seq":0}"#;
        assert!(matches!(read(error), Published::NotNow(_)));
        let error =
            r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0}"#;
        assert!(matches!(read(error), Published::Refused(_)));
        for unknown in [
            r#"{"error":{"code":503,"err_code":10077,"description":"store is closed"},"stream":"S","seq":0}"#,
            r#"{"error":{"code":409,"err_code":10158,"description":"in process"},"stream":"S","seq":0}"#,
            r#"{"error":{"code":503,"err_code":0,"description":"expected stream sequence does not match"},"stream":"S","seq":0}"#,
            "?",
        ] {
            assert!(matches!(read(unknown), Published::Unknown(_)), "{unknown}");
        }
    }
}
