#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, path::Path};

use super::{
    interpolate::{VariableError, interpolate},
    paths::node_id_from,
    *,
};

fn lookup(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cret".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spanwire.toml");
    std::fs::write(&path, text).unwrap();
    let source = Source { path: Some(path.clone()), ..Source::default() };
    let short = |error: load::LoadError| error.to_string().replace(&path.display().to_string(), "F");
    source.load_with(&lookup).map(|(config, _)| config).map_err(short)
}

#[test]
fn each_fault_says_where_and_what() {
    let check = |text: &str, part: &str| {
        let error = load(text).expect_err(text);
        assert!(error.contains(part), "{text}\n  said: {error}\n  not:  {part}");
    };
    check("[lisen]\n", r#"F:1:2: unknown key "lisen"; did you mean "listen"?"#);
    check("\n[limits]\n  page_sice = 3", r#"F:3:3: unknown key "page_sice"; did you mean "page_size"?"#);
    check("[servers.a]\ncomand = 'x'", r#"F:2:1: unknown key "comand"; did you mean "command"?"#);
    check("[node]\nxyz = 1", r#"unknown key "xyz"; known are id, tenant, data_dir"#);
    check("[limits]\npage_size = 'x'", "F:2:13: invalid type: string");
    check("a = ", "F:1:5: ");
    check("[servers.Git]\ncommand='x'", r#"invalid server id "Git""#);
    check("[node]\nid = 'A'", r#"F:2:6: invalid node id "A""#);
    check("[servers.a]\ncommand='x'\nera='new'", "F:3:5: unknown variant");
    check("[servers.a]\n", r#"F: servers.a: needs "command" or "url""#);
    check("[servers.a]\ncommand='x'\nurl='http://h'", "servers.a: has both");
    check("[servers.a]\nurl='ftp://h'", "servers.a: has a \"url\" that does not begin");
    check("[servers.a]\ncommand='x'\nargs=['${NOPE}']", "F: servers.a.args[0]: variable NOPE is not set");
    check("[servers.a]\nurl='http://h'\nheaders={A='${x y}'}", "servers.a.headers.A: \"${\" is not followed by");
    check("[nats]\nurl='${NOPE}'", "nats.url: variable NOPE");
    check("[nats]\nurl='h'\ntls_cert='c'", "nats.tls_cert: needs nats.tls_key beside it");
    check("[nats]\nurl='h'\ntls_key='k'", "nats.tls_key: needs nats.tls_cert beside it");
    check("[nats]\nurl='nats://t@h'\nnkey_seed_file='s'", "nats.token: there is also nats.nkey_seed_file: keep one");
    check("[nats]\nurl='h'\nprefix='a.*'", "nats.prefix: must be tokens");
    check("[nats]\nurl='h'\njetstream_domain='a.b'", "nats.jetstream_domain: must be of");
    check("[listen]\nhttp='0.0.0.0:1'", "listen.http: 0.0.0.0:1 is reachable from other machines");
    check("[listen]\nhttp='127.0.0.1:1'\ngrpc='127.0.0.1:1'", "already taken by listen.http");
    check("[limits]\npage_size=0", "limits.page_size: must be at least 1");
    check("[limits]\ninput_timeout_ms=0", "limits.input_timeout_ms: must be at least 1");
    check("[limits]\nlease_ttl_ms=2999", "limits.lease_ttl_ms: must be from 3000 to 60000");
    check("[listen]\nera='new'", "F:2:5: unknown variant");
    check("[telemetry]\nsample_ratio=1.5", "telemetry.sample_ratio");
    check("[[principals]]\nname='a'", "principals[0]: needs \"token\" or \"token_sha256\"");
    check("[[principals]]\nname='a b'\ntoken='x'", "principals[0].name");
    check("[[principals]]\nname='operator'\ntoken='x'", "\"operator\" is reserved");
    check("[[principals]]\nname='a'\ntoken='x'\n[[principals]]\nname='a'\ntoken='y'", "already a principal \"a\"");
    check("[[principals]]\nname='a'\ntoken='x'\n[[principals]]\nname='b'\ntoken='x'", "token of another principal");
    check("[[principals]]\nname='a'\ntoken_sha256='12'", "64 hex digits");
    check(
        "[[principals]]\nname='a'\ntoken='x'\ncontexts=['a:wriet']",
        "principals[0].contexts: \"a:wriet\": there is no",
    );
    check("[ledger]\nstore='jetstream'", "ledger.store: \"jetstream\" needs a [nats] section");
    check("[ledger]\nreplicas=3", "ledger.replicas: is for a ledger in JetStream");
    check("[nats]\nurl='x'\n[ledger]\nreplicas=2", "ledger.replicas: must be 1, 3 or 5");
    check(
        "[nats]\nurl='x'\n[ledger]\nstore='local'\n[servers.a]\ncommand='x'\nplacement='any'",
        "servers.a.placement: \"any\" needs the ledger in JetStream",
    );
    check("[ledger]\nkeep_entries=0", "ledger.keep_entries: must be at least 1");
    check("[ledger]\nreplcas=0", "unknown key \"replcas\"; did you mean \"replicas\"?");
    check("[context]\nmax_keys=0", "context.max_keys: must be from 1 to ");
    check("[context]\nmax_value_bytes=700000", "context.max_value_bytes: must be from 1 to 655360");
    check("[servers.context]\ncommand='x'", "servers.context: this id belongs to the shared context");
    check("[context]\nenabled=false\n[servers.context]\ncommand='x'", "servers.context: this id belongs");
    check("[views.a]\nrename={b='c'}", "\"b\" is not of the form SERVER__TOOL");
}

#[test]
fn all_problems_are_told_at_once() {
    let error = load("[limits]\npage_size=0\nmax_sessions=0").unwrap_err();
    assert!(error.contains("max_sessions") && error.contains("page_size"), "{error}");
}

#[test]
fn variables_are_resolved_only_where_they_are_allowed() {
    let text = r#"
[[principals]]
name = "ci"
token = "${TOKEN}"
tools = ["${TOKEN}__*"]
[servers.a]
command = "run"
args = ["--x=${NOPE:-d}", "$${TOKEN}", "${EMPTY:-e}${EMPTY}"]
env = { KEY = "a ${TOKEN} b" }
[servers.off]
command = "${NOPE}"
enabled = false
[telemetry]
otlp_headers = { key = "${TOKEN}" }
"#;
    let config = load(text).unwrap();
    assert_eq!(config.principals[0].token.as_ref().unwrap().expose(), "s3cret");
    assert_eq!(config.principals[0].tools, ["${TOKEN}__*"]);
    let spec = config.servers.iter().map(|(id, table)| table.to_spec(id).unwrap()).next().unwrap();
    let spanwire_model::Target::Stdio(target) = spec.target else { panic!() };
    assert_eq!(target.args, ["--x=d", "${TOKEN}", "e"]);
    assert_eq!(target.env, BTreeMap::from([("KEY".to_owned(), "a s3cret b".to_owned())]));
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(!serde_json::to_string(&config).unwrap().contains("s3cret"));
}

#[test]
fn a_dollar_without_a_brace_is_plain() {
    let check = |text: &str, expected: Result<&str, VariableError>| {
        assert_eq!(interpolate(text, &lookup), expected.map(str::to_owned), "{text}");
    };
    check("$HOME $$ a$", Ok("$HOME $$ a$"));
    check("$${a}${TOKEN}", Ok("${a}s3cret"));
    check("${", Err(VariableError::Malformed));
    check("${}", Err(VariableError::Malformed));
    check("${1a}", Err(VariableError::Malformed));
    check("${NOPE}", Err(VariableError::Unset("NOPE".to_owned())));
    check("${NOPE:-}", Ok(""));
}

#[test]
fn flags_go_before_the_file() {
    let overrides = Overrides {
        http: Some("127.0.0.1:1".parse().unwrap()),
        nats_url: Some("nats://u:p@h:4222,tls://i".to_owned()),
        ..Overrides::default()
    };
    let (config, _) = Source { path: None, overrides }.load_with(&lookup).unwrap();
    assert_eq!(config.listen.http.port(), 1);
    assert_eq!(config.listen.grpc.port(), 7401);
    let nats = config.nats.unwrap();
    assert_eq!(nats.url, "nats://h:4222,tls://i");
    assert_eq!((nats.user.as_deref(), nats.password.as_ref().map(Secret::expose)), (Some("u"), Some("p")));
}

#[test]
fn credentials_in_an_address_of_a_flag_go_before_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spanwire.toml");
    std::fs::write(&path, "[nats]\nurl='nats://h'\ncredentials_file='a.creds'").unwrap();
    let nats = |url: &str| {
        let overrides = Overrides { nats_url: Some(url.to_owned()), ..Overrides::default() };
        let source = Source { path: Some(path.clone()), overrides };
        source.load_with(&lookup).unwrap().0.nats.unwrap()
    };
    assert!(nats("nats://i").credentials_file.is_some());
    let token = nats("nats://tok@i");
    assert_eq!((token.credentials_file, token.token.as_ref().map(Secret::expose)), (None, Some("tok")));
}

#[test]
fn a_node_is_named_after_its_host() {
    for (host, id) in [("Web-1.example.com", "web-1"), ("3f2a", "node-3f2a"), ("日本", "node"), ("", "node")] {
        assert_eq!(node_id_from(host).unwrap().as_str(), id);
    }
    assert_eq!(node_id_from(&"a".repeat(99)).unwrap().as_str().len(), 59);
}

#[test]
fn the_published_schema_is_the_one_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/config.schema.json");
    let schema = Config::schema();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == schema, "{} is out of date: run the test with UPDATE_GOLDEN=1 and read the diff", path.display());
}

#[test]
fn every_key_of_the_schema_is_documented() {
    fn walk(at: &str, value: &serde_json::Value, missing: &mut Vec<String>) {
        let properties = value.get("properties").and_then(serde_json::Value::as_object);
        for (key, property) in properties.into_iter().flatten() {
            if property.get("description").is_none() {
                missing.push(format!("{at}.{key}"));
            }
        }
        for (name, definition) in value.get("$defs").and_then(serde_json::Value::as_object).into_iter().flatten() {
            walk(name, definition, missing);
        }
    }
    let mut missing = Vec::new();
    walk("Config", &serde_json::from_str(&Config::schema()).unwrap(), &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}
