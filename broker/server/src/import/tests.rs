#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use super::{write::server_toml, *};
use crate::config;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/tests")
}

/// The whole outcome as text: warnings first, then what `--into` writes.
fn outcome(imported: &Imported) -> String {
    let warnings: String = imported.warnings.iter().map(|warning| format!("# {warning}\n")).collect();
    let tables: Vec<String> = imported.servers.iter().map(|one| server_toml(&one.id, &one.table)).collect();
    format!("# {}\n{warnings}\n{}", imported.format.as_str(), tables.join("\n"))
}

#[test]
fn real_files_become_these_tables() {
    for name in ["claude_desktop.json", "claude_code.json", "cursor.json", "vscode.json", "codex.toml"] {
        let source = folder().join(name);
        let before = std::fs::read(&source).unwrap();
        let text = outcome(&read(&source).unwrap());
        let golden = folder().join(format!("{}.golden.toml", name.split('.').next().unwrap()));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&golden).unwrap_or_default(), "{name}");
        assert_eq!(before, std::fs::read(&source).unwrap());
        // What is written is what was read.
        let again = config::parse(&text, name).unwrap();
        let expected = read(&source).unwrap().servers;
        assert_eq!(again.servers.into_iter().collect::<Vec<_>>(), {
            let mut pairs: Vec<_> = expected.into_iter().map(|one| (one.id, one.table)).collect();
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            pairs
        });
    }
}

#[test]
fn what_is_nobodys_file_says_so() {
    let check = |text: &str, part: &str| {
        let error = parse(text, "F").expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    };
    check("{}", "no MCP servers found");
    check("", "no MCP servers found");
    check("{\"mcpServers\": [", "line 1 column 16");
    check("// c\n{\"mcpServers\": x}", "line 2 column 16");
    check("{\"mcpServers\": {\"a\": 1}}", "server \"a\" is not an object");
    check("a = ", "line 1");
}

#[test]
fn comments_and_trailing_commas_become_spaces() {
    let check = |text: &str, expected: &str| assert_eq!(jsonc::plain(text), expected);
    check("[1, 2 , ]", "[1, 2   ]");
    check("{\"a//b\":\"\\\"/*\",}//x", "{\"a//b\":\"\\\"/*\" }   ");
    check("/* a\nb */1", "    \n    1");
    check("/**/1", "    1");
    check("[\",]\",]", "[\",]\" ]");
    check("/* open", "       ");
    check("\"open", "\"open");
}

#[test]
fn ids_never_collide() {
    let servers = ["a", "A", "a!", "a-2"].map(|name| (name.to_owned(), ServerTable::default()));
    let ids: Vec<_> = ids::assign(servers.into(), &mut Vec::new()).iter().map(|one| one.id.to_string()).collect();
    assert_eq!(ids, ["a", "a-2", "a-3", "a-2-2"]);
    let long = "x".repeat(40);
    let servers = vec![(long.clone(), ServerTable::default()), (format!("{long}y"), ServerTable::default())];
    let ids: Vec<_> = ids::assign(servers, &mut Vec::new()).iter().map(|one| one.id.to_string()).collect();
    assert_eq!(ids, ["x".repeat(32), format!("{}-2", "x".repeat(30))]);
}

#[test]
fn a_configuration_is_extended_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("spanwire.toml");
    let servers = parse(r#"{"mcpServers":{"a":{"command":"x"},"b":{"command":"y"}}}"#, "F").unwrap().servers;
    add_to_file(&target, &servers[..1]).unwrap();
    let once = std::fs::read_to_string(&target).unwrap();
    let error = add_to_file(&target, &servers).unwrap_err().to_string();
    assert!(error.contains("already has [servers.a]"), "{error}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), once);
    std::fs::write(&target, "# mine\n[node]\nid = 'n' # keep").unwrap();
    add_to_file(&target, &servers).unwrap();
    let text = std::fs::read_to_string(&target).unwrap();
    assert_eq!(
        text,
        "# mine\n[node]\nid = 'n' # keep\n\n[servers.a]\ncommand = \"x\"\n\n[servers.b]\ncommand = \"y\"\n"
    );
    std::fs::write(&target, "servers = {}").unwrap();
    assert!(add_to_file(&target, &servers).is_err());
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "servers = {}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
