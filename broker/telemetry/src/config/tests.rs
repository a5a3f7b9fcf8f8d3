#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Option<OtlpConfig>, ConfigError> {
    OtlpConfig::from_variables(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned()))
}

#[test]
fn standard_variables() {
    assert!(read(&[]).unwrap().is_none());
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/");
    assert!(read(&[general, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
    assert!(read(&[general, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());

    let config = read(&[general, ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, b=x%20y")]).unwrap().unwrap();
    assert_eq!((config.endpoint.as_str(), config.protocol), ("http://a:4318/v1/traces", OtlpProtocol::HttpProtobuf));
    assert_eq!(config.headers, BTreeMap::from([("a".into(), "1".into()), ("b".into(), "x y".into())]));
    assert_eq!(config.timeout, OtlpConfig::TIMEOUT);

    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:1/p");
    assert_eq!(read(&[general, own]).unwrap().unwrap().endpoint, "http://b:1/p");
    let grpc = read(&[general, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "250")]);
    let grpc = grpc.unwrap().unwrap();
    assert_eq!((grpc.endpoint.as_str(), grpc.protocol), ("http://a:4318/", OtlpProtocol::Grpc));
    assert_eq!(grpc.timeout, Duration::from_millis(250));

    let bare = [("OTEL_EXPORTER_OTLP_ENDPOINT", "a:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    assert_eq!(read(&bare).unwrap().unwrap().endpoint, "https://a:4317");
    let insecure = [bare[0], bare[1], ("OTEL_EXPORTER_OTLP_INSECURE", "true")];
    assert_eq!(read(&insecure).unwrap().unwrap().endpoint, "http://a:4317");

    for bad in [("PROTOCOL", "http/json"), ("HEADERS", "secret"), ("TIMEOUT", "soon")] {
        let name = format!("OTEL_EXPORTER_OTLP_{}", bad.0);
        let error = read(&[general, (&name, bad.1)]).unwrap_err().to_string();
        assert!(error.contains(&name) && !error.contains(bad.1), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let mut config = OtlpConfig::new("https://user:secret@host:1/p?token=secret", OtlpProtocol::Grpc);
    config.headers.insert("authorization".into(), "secret".into());
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret") && shown.contains("https://host:1/p"), "{shown}");
}

#[test]
fn bounds_are_checked() {
    let good = Config::new("n".parse().unwrap());
    assert!(good.check().is_ok());
    for ratio in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(Config { sample_ratio: ratio, ..good.clone() }.check(), Err(ConfigError::SampleRatio(_))));
    }
    assert!(matches!(Config { queue_spans: 0, ..good }.check(), Err(ConfigError::Zero("queue_spans"))));
}
