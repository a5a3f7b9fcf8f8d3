//! The durable ordered log and its views.
