use super::*;
use crate::command::doctor::Verdict;

#[test]
fn old_servers_are_not_enough() {
    for (text, verdict) in [
        ("2.11.0", Verdict::Ok),
        ("2.15.1", Verdict::Ok),
        ("3.0.0", Verdict::Ok),
        ("2.10.9", Verdict::Fail),
        ("", Verdict::Fail),
    ] {
        assert_eq!(version("h", text).verdict, verdict, "{text}");
    }
}

#[test]
fn going_without_tls_is_for_this_machine() {
    for (address, tls, verdict) in [
        ("nats://127.0.0.1:4222", false, Verdict::Ok),
        ("nats://[::1]:4222", false, Verdict::Ok),
        ("localhost", false, Verdict::Ok),
        ("nats://10.0.0.1", false, Verdict::Warn),
        ("nats://10.0.0.1", true, Verdict::Ok),
    ] {
        assert_eq!(encryption(address, tls).verdict, verdict, "{address}");
    }
}

#[test]
fn each_cause_has_its_words_and_nothing_secret() {
    let password = Credentials::Password { user: "anna".into(), password: "s3cret".into() };
    for (cause, kind, part) in [
        (Cause::Settings, "configuration: ", "[nats]"),
        (Cause::Unresolved, "name not resolved: ", "nats.url"),
        (Cause::Unreachable, "unreachable: ", "log of nats-server"),
        (Cause::Certificate, "certificate problem: ", "nats.tls_ca"),
        (Cause::OwnCertificate, "certificate problem of this node: ", "nats.tls_cert"),
        (Cause::Tls, "tls problem: ", "TLS 1.3"),
        (Cause::Credentials, "authorization violation: ", "correct nats.user and nats.password"),
    ] {
        let finding = refused("nats://h", &password, &Refused { cause, detail: "why".into() });
        assert!(finding.found.starts_with(kind) && finding.advice.contains(part), "{finding:?}");
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(!format!("{finding:?}").contains("s3cret"));
    }
}
