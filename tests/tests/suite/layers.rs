//! The map of the house holds: the layer table of `broker/ARCHITECTURE.md` against what cargo says, names, the top level, and who may
//! name the store's and the backbone's libraries. The table is read from the document, so that document and test cannot drift.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

const ARCHITECTURE: &str = "broker/ARCHITECTURE.md";
const SLED_FILE: &str = "broker/ledger/src/store/sled.rs";
/// The connection, the ephemeral messages and the durable ones.
const NATS_FOLDERS: [&str; 3] = ["broker/backbone/", "broker/ledger/", "broker/nats/"];
/// This file names what it looks for.
const THIS_FILE: &str = "tests/tests/suite/layers.rs";

/// What the top level may hold: the rooms, and the plain files of a project.
const TOP_LEVEL: [&str; 17] = [
    "Cargo.toml",
    "proto",
    "broker",
    "adapters",
    "dashboards",
    "tests",
    "README.md",
    "Cargo.lock",
    "LICENSE",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
    "rust-toolchain.toml",
    ".gitattributes",
    ".gitignore",
    ".ci",
    ".config",
];

/// What `cargo metadata` says, as far as it is needed.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

/// Normal, dev and build dependencies alike.
#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a command in the root of the repository; `None` when it fails.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn packages() -> Vec<Package> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let text = output(&cargo, &["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata: Metadata = serde_json::from_str(&text.expect("cargo metadata")).unwrap();
    metadata.packages
}

/// A path below the root, with `/` between its parts.
fn below_root(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap_or_else(|_| panic!("{} is outside of the tree", path.display()));
    relative.to_str().unwrap().replace('\\', "/")
}

fn folder_of(package: &Package) -> String {
    below_root(package.manifest_path.parent().unwrap())
}

/// Rows of the form `| L3 | a/b, c/d in backticks | … |`: a folder and its layer.
fn layers_of_the_document() -> BTreeMap<String, u32> {
    let text = read(ARCHITECTURE);
    let mut layers = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| L")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let layer: u32 = cells.next().and_then(|cell| cell.strip_prefix('L')?.parse().ok()).expect(line);
        for folder in in_backticks(cells.next().expect(line)) {
            assert_eq!(layers.insert(folder.to_owned(), layer), None, "{folder} is in the table twice");
        }
    }
    layers
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Tracked files; all files, where there is no git.
fn files() -> Vec<String> {
    if let Some(listed) = output("git", &["-c", "safe.directory=*", "ls-files", "-z"]).filter(|text| !text.is_empty()) {
        let tracked = listed.split('\0').filter(|path| !path.is_empty() && root().join(path).exists());
        return tracked.map(str::to_owned).collect();
    }
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match path.is_dir() {
                true if name == "target" || name == ".git" => {}
                true => folders.push(path),
                false => found.push(below_root(&path)),
            }
        }
    }
    found
}

/// The code of every Rust file outside of `except`, line by line without comments: path, line number, line.
fn code_lines(except: &str) -> Vec<(String, usize, String)> {
    let files = files().into_iter().filter(|path| path.ends_with(".rs") && path != THIS_FILE);
    let mut lines = Vec::new();
    for path in files.filter(|path| !path.starts_with(except)) {
        for (index, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default().trim();
            if !code.is_empty() {
                lines.push((path.clone(), index + 1, code.to_owned()));
            }
        }
    }
    lines
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn every_member_is_in_the_layer_table_and_named_after_its_folder() {
    let layers = layers_of_the_document();
    let packages = packages();
    let folders: BTreeSet<String> = packages.iter().map(folder_of).collect();
    let listed: BTreeSet<String> = layers.keys().cloned().collect();
    assert_eq!(folders, listed, "members of the workspace, and the layer table of {ARCHITECTURE}");
    for package in &packages {
        let folder = folder_of(package);
        let last = folder.rsplit('/').next().unwrap();
        assert_eq!(package.name, format!("spanwire-{last}"), "the crate of {folder}");
    }
}

#[test]
fn dependencies_point_down_and_siblings_do_not_meet() {
    let layers = layers_of_the_document();
    let mut wrong = Vec::new();
    for package in &packages() {
        let folder = folder_of(package);
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else { continue };
            let below = below_root(path);
            let kind = dependency.kind.as_deref().unwrap_or("normal");
            match (layers.get(&folder), layers.get(&below)) {
                (Some(from), Some(to)) if to < from => {}
                (Some(from), Some(to)) => wrong.push(format!("L{from} {folder} -> L{to} {below} ({kind})")),
                (_, None) => wrong.push(format!("{folder} -> {below}, which has no layer")),
                (None, Some(_)) => wrong.push(format!("{folder} has no layer")),
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn the_workspace_lists_its_members_one_by_one_lowest_layer_first() {
    let layers = layers_of_the_document();
    let manifest = read("Cargo.toml");
    let list = |key: &str| -> Vec<String> {
        let (_, rest) = manifest.split_once(&format!("\n{key} = [")).expect(key);
        let (inside, _) = rest.split_once(']').expect(key);
        let lines = inside.lines().map(|line| line.split('#').next().unwrap_or_default());
        lines.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let (members, excluded) = (list("members"), list("exclude"));
    let order: Vec<u32> = members.iter().map(|member| *layers.get(member).expect(member)).collect();
    assert!(order.is_sorted(), "the member list is the map, lowest layer first: {members:?}");
    // Whatever has a manifest is a member, or is left out by name.
    for path in files() {
        let Some(folder) = path.strip_suffix("/Cargo.toml") else { continue };
        let known = members.iter().chain(&excluded).any(|listed| listed == folder);
        assert!(known, "{folder} has a Cargo.toml and is neither a member nor excluded");
    }
}

#[test]
fn the_top_level_holds_the_rooms_and_nothing_else() {
    let found: BTreeSet<String> =
        files().iter().map(|path| path.split('/').next().unwrap_or_default().to_owned()).collect();
    let strangers: Vec<&String> = found.iter().filter(|name| !TOP_LEVEL.contains(&name.as_str())).collect();
    assert!(strangers.is_empty(), "at the top level: {strangers:?}; a new thing belongs into one of the rooms");
}

#[test]
fn one_file_names_sled() {
    let owners: Vec<String> = owners_of("sled");
    assert_eq!(owners, ["broker/ledger"], "crates that depend on sled");
    let mut wrong = Vec::new();
    for (path, number, line) in code_lines(SLED_FILE) {
        // The word also stands in texts and names; a library is used by its path. The module of that name is not the library.
        let code = line.replace("self::sled::", "").replace("super::sled::", "").replace("store::sled::", "");
        if code.contains("sled::") || code.starts_with("use sled") {
            wrong.push(format!("{path}:{number}: {line}"));
        }
    }
    assert!(wrong.is_empty(), "only {SLED_FILE} names sled:\n{}", wrong.join("\n"));
}

#[test]
fn three_crates_name_async_nats() {
    let owners: Vec<String> = owners_of("async-nats").into_iter().map(|owner| format!("{owner}/")).collect();
    assert_eq!(BTreeSet::from_iter(owners), NATS_FOLDERS.map(str::to_owned).into(), "crates that depend on async-nats");
    let named = code_lines("broker/nats/").into_iter().filter(|(_, _, line)| has_word(line, "async_nats"));
    let strangers = named.filter(|(path, _, _)| !NATS_FOLDERS.iter().any(|folder| path.starts_with(folder)));
    let wrong: Vec<String> = strangers.map(|(path, number, line)| format!("{path}:{number}: {line}")).collect();
    assert!(wrong.is_empty(), "only {NATS_FOLDERS:?} name async_nats:\n{}", wrong.join("\n"));
}

fn owners_of(library: &str) -> Vec<String> {
    let packages = packages();
    let owners = packages.iter().filter(|package| package.dependencies.iter().any(|one| one.name == library));
    owners.map(folder_of).collect()
}

/// Documents name files by their path from the root, in backticks; a name without a folder is not one.
#[test]
fn every_file_that_a_document_names_exists() {
    let documents = files().into_iter().filter(|path| path.ends_with(".md") && !path.starts_with("tests/peers/"));
    let mut missing = Vec::new();
    for document in documents {
        let text = read(&document);
        for name in text.lines().flat_map(in_backticks) {
            let rooms = ["proto/", "broker/", "adapters/", "tests/"];
            let is_path = rooms.iter().any(|room| name.starts_with(room)) && !name.contains([' ', '*', '{', '<', 'N']);
            if is_path && !root().join(name).exists() {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "documents name files that are not there:\n{}", missing.join("\n"));
}
