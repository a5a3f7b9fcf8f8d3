//! Whatever bytes come, [`Message::parse`] answers, and what it accepts survives its own writing.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use spanwire_mcp::{Limits, Message, Parsed, WireError};

/// Low enough that short inputs reach every limit.
const TIGHT: Limits = Limits { max_bytes: 256, max_depth: 4, max_batch: 2 };

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    for limits in [Limits::default(), TIGHT] {
        for batches in [false, true] {
            match Message::parse(&body, &limits, batches) {
                Ok(Parsed::Single(message)) => round_trips(&message),
                Ok(Parsed::Batch(items)) => {
                    assert!(batches, "a batch although batches are off");
                    assert!(!items.is_empty() && items.len() <= limits.max_batch, "batch of {}", items.len());
                    for item in items {
                        match item {
                            Ok(message) => round_trips(&message),
                            Err(error) => is_answerable(&error),
                        }
                    }
                }
                Err(error) => is_answerable(&error),
            }
        }
    }
});

/// Writing and reading again gives the same message, and the second writing the same bytes.
fn round_trips(message: &Message) {
    let written = message.to_bytes();
    assert!(!written.contains(&b'\n'), "a newline would cut the message in two on stdio");
    let again = Message::parse_single(&written, &Limits { max_bytes: usize::MAX, ..Limits::default() });
    let again = again.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
    assert_eq!(again.to_bytes(), written);
    // Line breaks between the tokens of raw parts are all that writing may change.
    if flat(message) {
        assert_eq!(&again, message);
    }
}

/// True when no raw part of the message holds a line break.
fn flat(message: &Message) -> bool {
    let raw = match message {
        Message::Request(request) => request.params.as_ref(),
        Message::Notification(notification) => notification.params.as_ref(),
        Message::Response(response) => match &response.outcome {
            Ok(result) => Some(result),
            Err(error) => error.data.as_ref(),
        },
    };
    raw.is_none_or(|json| !json.as_str().contains(['\n', '\r']))
}

/// Every refusal can be told to the peer as a message that we would read ourselves.
fn is_answerable(error: &WireError) {
    round_trips(&Message::Response(error.to_response()));
}
