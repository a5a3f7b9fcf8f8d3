#![allow(clippy::unwrap_used)]

use rustls::CertificateError;

use super::*;

fn io_error(inner: impl Into<Box<dyn StdError + Send + Sync>>) -> ConnectError {
    ConnectError::with_source(ConnectErrorKind::Io, io::Error::new(io::ErrorKind::InvalidData, inner))
}

#[test]
fn the_reasons_of_a_failed_attempt_are_told_apart() {
    let server = |text: &str| ConnectError::with_source(ConnectErrorKind::Io, ServerError::Other(text.into()));
    for (error, cause) in [
        (ConnectError::new(ConnectErrorKind::Dns), Cause::Unresolved),
        (ConnectError::new(ConnectErrorKind::AuthorizationViolation), Cause::Credentials),
        (ConnectError::new(ConnectErrorKind::TimedOut), Cause::Unreachable),
        (ConnectError::with_source(ConnectErrorKind::Tls, "no such name"), Cause::Tls),
        (io_error("connection refused"), Cause::Unreachable),
        (io_error(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)), Cause::Certificate),
        (io_error(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)), Cause::OwnCertificate),
        (io_error(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)), Cause::Tls),
        (server("User Authentication Expired"), Cause::Credentials),
        (server("maximum connections exceeded"), Cause::Unreachable),
    ] {
        assert_eq!(refused(&error).cause, cause, "{error:?}");
    }
}

#[test]
fn a_refusal_names_the_permission_that_is_missing() {
    let config = Config::new(["h"], "t".parse().unwrap(), "a".parse().unwrap());
    let asked: Vec<_> = subscribed(&config).into_iter().chain(published(&config)).collect();
    for (text, expected) in [
        (r#"Permissions Violation for Subscription to "sw.v1.t.evt.=doctor.*.*""#, Some("subscribe to sw.v1.t.evt.>")),
        (
            r#"Permissions Violation for Publish to "sw.v1.t.call._.=nobody.=doctor.=doctor""#,
            Some("publish to sw.v1.t.call.>"),
        ),
        (
            r#"Permissions Violation for Publish to "$JS.hub.API.STREAM.INFO.SW_t_REGISTRY_0""#,
            Some("publish to $JS.hub.API.STREAM.INFO.*"),
        ),
        ("maximum payload exceeded", None),
    ] {
        assert_eq!(denial(text, asked.iter()).as_deref(), expected, "{text}");
    }
    assert!(asked.iter().all(|(subject, _)| subject.starts_with("sw.v1.t.")), "{asked:?}");
}
