//! Placeholders of other hosts, rewritten into `${VAR}`.

/// What a placeholder became, for a warning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rewritten {
    /// `${input:x}`: the host would ask the user; here the variable must be set.
    Input {
        /// The id of the input.
        id: String,
        /// The variable.
        variable: String,
    },
    /// `${env:X}`: the same under another spelling.
    Env {
        /// The variable.
        variable: String,
    },
    /// `${workspaceFolder}` and the like: only the host knows it; here the variable must be set.
    Host {
        /// The placeholder without its brackets.
        name: String,
        /// The variable.
        variable: String,
    },
    /// A `${` that is no placeholder anywhere, kept as plain text.
    Literal,
}

/// The text with placeholders in our form, and what was rewritten. `${VAR}` and `${VAR:-default}` stay.
pub(super) fn rewrite(text: &str, rewritten: &mut Vec<Rewritten>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let Some((inner, after)) = rest[at + 2..].split_once('}') else {
            rewritten.push(Rewritten::Literal);
            out.push_str("$${");
            rest = &rest[at + 2..];
            continue;
        };
        out.push_str(&one(inner, rewritten));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn one(inner: &str, rewritten: &mut Vec<Rewritten>) -> String {
    let name = inner.split_once(":-").map_or(inner, |(name, _)| name);
    if let Some(id) = inner.strip_prefix("input:") {
        let variable = variable_of(id);
        rewritten.push(Rewritten::Input { id: id.to_owned(), variable: variable.clone() });
        return format!("${{{variable}}}");
    }
    if let Some(variable) = inner.strip_prefix("env:").filter(|name| is_variable(name)) {
        rewritten.push(Rewritten::Env { variable: variable.to_owned() });
        return format!("${{{variable}}}");
    }
    match inner {
        "userHome" => "${HOME}".to_owned(),
        "pathSeparator" | "/" => std::path::MAIN_SEPARATOR.to_string(),
        "workspaceFolder" | "workspaceFolderBasename" | "workspaceRoot" | "cwd" => {
            let variable = variable_of(inner);
            rewritten.push(Rewritten::Host { name: inner.to_owned(), variable: variable.clone() });
            format!("${{{variable}}}")
        }
        _ if is_variable(name) => format!("${{{inner}}}"),
        _ => {
            rewritten.push(Rewritten::Literal);
            format!("$${{{inner}}}")
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `github-token` and `workspaceFolder` become `GITHUB_TOKEN` and `WORKSPACE_FOLDER`.
fn variable_of(id: &str) -> String {
    let mut variable = String::new();
    let mut after_lower = false;
    for c in id.chars() {
        if c.is_ascii_uppercase() && after_lower {
            variable.push('_');
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        variable.push(if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    }
    if variable.starts_with(|c: char| c.is_ascii_digit()) || variable.is_empty() {
        format!("_{variable}")
    } else {
        variable
    }
}
