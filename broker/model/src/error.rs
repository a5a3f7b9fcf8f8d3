//! One error for the whole broker, and the tables that turn it into each protocol's own.

use std::borrow::Cow;

use spanwire_mcp::{ErrorObject, Json, codes};

/// A result of the broker.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Closed, so that each table below must decide on every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The body is not JSON.
    Malformed,
    /// Not a message that the revision allows.
    InvalidRequest,
    /// No such method.
    MethodNotFound,
    /// The params are wrong, or name nothing that exists (or that the caller may see).
    InvalidParams,
    /// HTTP headers and body disagree.
    HeaderMismatch,
    /// The protocol revision is not spoken here.
    UnsupportedVersion,
    /// A capability that the client did not declare is needed.
    MissingCapability,
    /// No credentials, or ones that are not known.
    Unauthenticated,
    /// Credentials are known but do not allow this.
    Denied,
    /// Above a limit of size.
    TooLarge,
    /// Too much at once: try again later.
    Overloaded,
    /// A condition of the request does not hold; `data` says what is there.
    Conflict,
    /// It would exceed a quota of what is kept.
    QuotaExceeded,
    /// The server that would answer is not connected. Nothing was executed.
    Unavailable,
    /// The budget of the call ran out. Whether it was executed is unknown.
    DeadlineExceeded,
    /// The caller went away.
    Cancelled,
    /// The reply broke off in the middle. Whether the call was executed is unknown.
    StreamLost,
    /// The session of a legacy server or client is gone.
    SessionGone,
    /// The server answered with an error of its own; `code` and `data` are the server's.
    Server,
    /// The server broke the protocol.
    BadServer,
    /// The broker failed.
    Internal,
}

impl ErrorKind {
    /// All of them.
    const ALL: [Self; 21] = [
        Self::Malformed,
        Self::InvalidRequest,
        Self::MethodNotFound,
        Self::InvalidParams,
        Self::HeaderMismatch,
        Self::UnsupportedVersion,
        Self::MissingCapability,
        Self::Unauthenticated,
        Self::Denied,
        Self::TooLarge,
        Self::Overloaded,
        Self::Conflict,
        Self::QuotaExceeded,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::StreamLost,
        Self::SessionGone,
        Self::Server,
        Self::BadServer,
        Self::Internal,
    ];

    /// Stable name, the same in every protocol.
    fn name(self) -> &'static str {
        match self {
            ErrorKind::Malformed => "malformed",
            ErrorKind::InvalidRequest => "invalid_request",
            ErrorKind::MethodNotFound => "method_not_found",
            ErrorKind::InvalidParams => "invalid_params",
            ErrorKind::HeaderMismatch => "header_mismatch",
            ErrorKind::UnsupportedVersion => "unsupported_version",
            ErrorKind::MissingCapability => "missing_capability",
            ErrorKind::Unauthenticated => "unauthenticated",
            ErrorKind::Denied => "denied",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::Conflict => "conflict",
            ErrorKind::QuotaExceeded => "quota_exceeded",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::DeadlineExceeded => "deadline_exceeded",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::StreamLost => "stream_lost",
            ErrorKind::SessionGone => "session_gone",
            ErrorKind::Server => "server_error",
            ErrorKind::BadServer => "bad_server",
            ErrorKind::Internal => "internal",
        }
    }
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The caller's.
    Client,
    /// The broker's.
    Broker,
    /// The called server's.
    Server,
}

/// Whether doing it again may help without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// Nothing was executed.
    Safe,
    /// It may have been executed: only if executing it twice does no harm.
    IfIdempotent,
}

/// An error on its way to a caller. The public text is for the caller; the private text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{public}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// What the caller is told: what, and on what. Nothing secret.
    pub public: Cow<'static, str>,
    /// What the log is told in addition.
    pub private: Option<String>,
    /// The JSON-RPC code when it is not the kind's own.
    pub code: Option<i64>,
    /// The JSON-RPC data.
    pub data: Option<Json>,
}

impl Error {
    /// An error with its public text.
    pub fn new(kind: ErrorKind, public: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, public: public.into(), private: None, code: None, data: None }
    }

    /// Adds what only the log is told.
    #[must_use]
    pub fn with_private(self, private: impl ToString) -> Self {
        Self { private: Some(private.to_string()), ..self }
    }

    /// Adds the JSON-RPC data.
    #[must_use]
    pub fn with_data(self, data: Json) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The error that a server answered with, kept as it is.
    pub fn from_server(error: ErrorObject) -> Self {
        Self {
            kind: ErrorKind::Server,
            public: error.message.into(),
            private: None,
            code: Some(error.code),
            data: error.data,
        }
    }

    /// Whose fault it is.
    pub fn origin(&self) -> Origin {
        match self.kind {
            ErrorKind::Malformed
            | ErrorKind::InvalidRequest
            | ErrorKind::MethodNotFound
            | ErrorKind::InvalidParams
            | ErrorKind::HeaderMismatch
            | ErrorKind::UnsupportedVersion
            | ErrorKind::MissingCapability
            | ErrorKind::Unauthenticated
            | ErrorKind::Denied
            | ErrorKind::TooLarge
            | ErrorKind::Conflict
            | ErrorKind::QuotaExceeded
            | ErrorKind::Cancelled => Origin::Client,
            ErrorKind::Overloaded | ErrorKind::StreamLost | ErrorKind::Internal | ErrorKind::SessionGone => {
                Origin::Broker
            }
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Server | ErrorKind::BadServer => {
                Origin::Server
            }
        }
    }

    /// Whether a retry may help without harm.
    pub fn retry(&self) -> Retry {
        match self.kind {
            ErrorKind::Overloaded | ErrorKind::Unavailable | ErrorKind::SessionGone => Retry::Safe,
            ErrorKind::DeadlineExceeded | ErrorKind::StreamLost | ErrorKind::BadServer | ErrorKind::Internal => {
                Retry::IfIdempotent
            }
            ErrorKind::Malformed
            | ErrorKind::InvalidRequest
            | ErrorKind::MethodNotFound
            | ErrorKind::InvalidParams
            | ErrorKind::HeaderMismatch
            | ErrorKind::UnsupportedVersion
            | ErrorKind::MissingCapability
            | ErrorKind::Unauthenticated
            | ErrorKind::Denied
            | ErrorKind::TooLarge
            | ErrorKind::Conflict
            | ErrorKind::QuotaExceeded
            | ErrorKind::Cancelled
            | ErrorKind::Server => Retry::Never,
        }
    }

    /// Stable name of the kind: `error.type` of spans and metrics, `data.kind` of responses.
    pub fn kind_name(&self) -> &'static str {
        self.kind.name()
    }

    /// The JSON-RPC code. Broker conditions that MCP has no code for use numbers outside the reserved range
    /// (2026-07-28, basic/index, "Error Codes").
    pub fn json_rpc_code(&self) -> i64 {
        if let Some(code) = self.code {
            return code;
        }
        match self.kind {
            ErrorKind::Malformed => codes::PARSE_ERROR,
            ErrorKind::InvalidRequest | ErrorKind::TooLarge => codes::INVALID_REQUEST,
            ErrorKind::MethodNotFound => codes::METHOD_NOT_FOUND,
            ErrorKind::InvalidParams => codes::INVALID_PARAMS,
            ErrorKind::HeaderMismatch => codes::HEADER_MISMATCH,
            ErrorKind::UnsupportedVersion => codes::UNSUPPORTED_PROTOCOL_VERSION,
            ErrorKind::MissingCapability => codes::MISSING_CLIENT_CAPABILITY,
            ErrorKind::Internal | ErrorKind::Server => codes::INTERNAL_ERROR,
            ErrorKind::Unauthenticated => 40100,
            ErrorKind::Denied => 40300,
            ErrorKind::SessionGone => 40400,
            ErrorKind::Conflict => 40900,
            ErrorKind::QuotaExceeded => 50700,
            ErrorKind::Cancelled => 49900,
            ErrorKind::Overloaded => 42900,
            ErrorKind::BadServer => 50200,
            ErrorKind::Unavailable => 50300,
            ErrorKind::DeadlineExceeded => 50400,
            ErrorKind::StreamLost => 50410,
        }
    }

    /// The HTTP status of a response that carries only this error.
    pub fn http_status(&self) -> u16 {
        match self.kind {
            ErrorKind::Malformed
            | ErrorKind::InvalidRequest
            | ErrorKind::HeaderMismatch
            | ErrorKind::UnsupportedVersion
            | ErrorKind::MissingCapability => 400,
            ErrorKind::Unauthenticated => 401,
            ErrorKind::Denied => 403,
            ErrorKind::MethodNotFound | ErrorKind::SessionGone => 404,
            ErrorKind::TooLarge => 413,
            ErrorKind::Overloaded => 429,
            // A JSON-RPC outcome of a request that was well-formed: HTTP itself succeeded.
            ErrorKind::InvalidParams
            | ErrorKind::Conflict
            | ErrorKind::QuotaExceeded
            | ErrorKind::Unavailable
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Cancelled
            | ErrorKind::StreamLost
            | ErrorKind::BadServer
            | ErrorKind::Internal => 200,
            // What a server says itself has the status that the code has when it is the broker's own.
            ErrorKind::Server => match self.code {
                Some(code) if codes::is_modern(code) => 400,
                Some(codes::METHOD_NOT_FOUND) => 404,
                Some(_) | None => 200,
            },
        }
    }

    /// The gRPC status code, as its number.
    pub fn grpc_code(&self) -> i32 {
        match self.kind {
            ErrorKind::Cancelled => 1,
            ErrorKind::Malformed
            | ErrorKind::InvalidRequest
            | ErrorKind::InvalidParams
            | ErrorKind::HeaderMismatch
            | ErrorKind::UnsupportedVersion
            | ErrorKind::TooLarge => 3,
            ErrorKind::DeadlineExceeded => 4,
            ErrorKind::SessionGone => 5,
            ErrorKind::Denied => 7,
            ErrorKind::Overloaded | ErrorKind::QuotaExceeded => 8,
            ErrorKind::MissingCapability | ErrorKind::Conflict => 9,
            ErrorKind::StreamLost => 10,
            ErrorKind::MethodNotFound => 12,
            ErrorKind::Server | ErrorKind::BadServer | ErrorKind::Internal => 13,
            ErrorKind::Unavailable => 14,
            ErrorKind::Unauthenticated => 16,
        }
    }

    /// The JSON-RPC error object. A broker's own condition says its kind and whether a retry is safe in `data`.
    pub fn to_object(&self) -> ErrorObject {
        let data = self.data.clone().or_else(|| match self.kind {
            ErrorKind::Unauthenticated
            | ErrorKind::Denied
            | ErrorKind::TooLarge
            | ErrorKind::Overloaded
            | ErrorKind::Conflict
            | ErrorKind::QuotaExceeded
            | ErrorKind::Unavailable
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Cancelled
            | ErrorKind::StreamLost
            | ErrorKind::SessionGone
            | ErrorKind::BadServer => {
                let retry = match self.retry() {
                    Retry::Never => "never",
                    Retry::Safe => "safe",
                    Retry::IfIdempotent => "if_idempotent",
                };
                Some(Json::from_trusted(format!("{{\"kind\":\"{}\",\"retry\":\"{retry}\"}}", self.kind_name())))
            }
            _ => None,
        });
        ErrorObject { code: self.json_rpc_code(), message: self.public.to_string(), data }
    }

    /// The error object between nodes. It carries the kind in every case, so that a server's own error is never taken for a
    /// condition of the broker, whatever code and data the server chose.
    pub fn to_bus_object(&self) -> ErrorObject {
        let data = self.data.as_ref().map(|data| format!(",\"data\":{}", data.as_str())).unwrap_or_default();
        let data = Json::from_trusted(format!("{{\"kind\":\"{}\"{data}}}", self.kind_name()));
        ErrorObject { code: self.json_rpc_code(), message: self.public.to_string(), data: Some(data) }
    }

    /// Reads back what [`Self::to_bus_object`] wrote.
    pub fn from_bus_object(object: ErrorObject) -> Self {
        let said = |member: &str| object.data.as_ref().and_then(|data| data.get(member));
        let name = said("kind").and_then(|kind| kind.read::<String>().ok());
        let kind = ErrorKind::ALL.into_iter().find(|kind| name.as_deref() == Some(kind.name()));
        let data = said("data");
        match kind {
            Some(kind) => Self { kind, public: object.message.into(), private: None, code: Some(object.code), data },
            None => Self::from_object(object),
        }
    }

    /// Reads back what [`Self::to_object`] wrote, where a node is the client of another one.
    pub fn from_object(object: ErrorObject) -> Self {
        let kind = match object.code {
            codes::PARSE_ERROR => ErrorKind::Malformed,
            // Two kinds share this code.
            codes::INVALID_REQUEST => {
                let said = object.data.as_ref().and_then(|data| data.get("kind"));
                let too_large = said.is_some_and(|kind| kind.as_str() == "\"too_large\"");
                if too_large { ErrorKind::TooLarge } else { ErrorKind::InvalidRequest }
            }
            codes::METHOD_NOT_FOUND => ErrorKind::MethodNotFound,
            codes::INVALID_PARAMS => ErrorKind::InvalidParams,
            codes::HEADER_MISMATCH => ErrorKind::HeaderMismatch,
            codes::UNSUPPORTED_PROTOCOL_VERSION => ErrorKind::UnsupportedVersion,
            codes::MISSING_CLIENT_CAPABILITY => ErrorKind::MissingCapability,
            40100 => ErrorKind::Unauthenticated,
            40300 => ErrorKind::Denied,
            40400 => ErrorKind::SessionGone,
            40900 => ErrorKind::Conflict,
            50700 => ErrorKind::QuotaExceeded,
            49900 => ErrorKind::Cancelled,
            42900 => ErrorKind::Overloaded,
            50200 => ErrorKind::BadServer,
            50300 => ErrorKind::Unavailable,
            50400 => ErrorKind::DeadlineExceeded,
            50410 => ErrorKind::StreamLost,
            _ => ErrorKind::Server,
        };
        Self { kind, public: object.message.into(), private: None, code: Some(object.code), data: object.data }
    }
}

impl From<spanwire_mcp::WireError> for Error {
    fn from(error: spanwire_mcp::WireError) -> Self {
        let kind = match error.kind {
            spanwire_mcp::WireErrorKind::Malformed => ErrorKind::Malformed,
            spanwire_mcp::WireErrorKind::Invalid => ErrorKind::InvalidRequest,
            spanwire_mcp::WireErrorKind::TooLarge => ErrorKind::TooLarge,
        };
        Self::new(kind, error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_the_backbone_unchanged() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "no \"x\"");
            let arrived = Error::from_bus_object(error.to_bus_object());
            assert_eq!((arrived.kind, arrived.to_object()), (kind, error.to_object()), "{}", kind.name());
        }
        for code in [-32601, -32602, 40100, 50410] {
            let data = Some(Json::from_trusted("{\"kind\":\"stream_lost\"}"));
            let error = Error::from_server(ErrorObject { code, message: "own".into(), data });
            assert_eq!(Error::from_bus_object(error.to_bus_object()), error);
        }
    }
}
