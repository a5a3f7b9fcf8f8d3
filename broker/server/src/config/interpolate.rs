//! `${VAR}` and `${VAR:-default}` in values; `$${` is a plain `${`.

use super::{Config, ConfigError};

/// Where the values of variables come from.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
pub(crate) fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Why a `${…}` cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VariableError {
    /// Not set, and without a default.
    #[error("variable {0} is not set: set it, or write ${{{0}:-default}}")]
    Unset(String),
    /// Not of the form `${NAME}`.
    #[error("\"${{\" is not followed by NAME}} or NAME:-default}}: write $${{ for a plain ${{")]
    Malformed,
}

/// The text with its variables resolved. An empty variable counts as unset where there is a default, as in a shell.
pub(crate) fn interpolate(text: &str, lookup: Lookup<'_>) -> Result<String, VariableError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let (inner, after) = rest[at + 2..].split_once('}').ok_or(VariableError::Malformed)?;
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        if !is_name(name) {
            return Err(VariableError::Malformed);
        }
        match (lookup(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => return Err(VariableError::Unset(name.to_owned())),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl Config {
    /// Resolves variables where they are allowed: servers that are enabled, tokens of principals, NATS, OTLP headers.
    pub(super) fn resolve(&mut self, file: &str, lookup: Lookup<'_>) -> Result<(), ConfigError> {
        for (key, value) in self.resolvable() {
            *value = interpolate(value, lookup).map_err(|what| ConfigError::Variable {
                file: file.to_owned(),
                key,
                what,
            })?;
        }
        Ok(())
    }

    fn resolvable(&mut self) -> Vec<(String, &mut String)> {
        let mut values = Vec::new();
        if let Some(nats) = &mut self.nats {
            values.push(("nats.url".to_owned(), &mut nats.url));
            values.extend(nats.user.as_mut().map(|user| ("nats.user".to_owned(), user)));
            values.extend(nats.password.as_mut().map(|secret| ("nats.password".to_owned(), secret.expose_mut())));
            values.extend(nats.token.as_mut().map(|secret| ("nats.token".to_owned(), secret.expose_mut())));
            let seal = nats.seal_secret.as_mut();
            values.extend(seal.map(|secret| ("nats.seal_secret".to_owned(), secret.expose_mut())));
        }
        for (name, value) in &mut self.telemetry.otlp_headers {
            values.push((format!("telemetry.otlp_headers.{name}"), value.expose_mut()));
        }
        for principal in &mut self.principals {
            let key = format!("principals.{}.token", principal.name);
            values.extend(principal.token.as_mut().map(|secret| (key, secret.expose_mut())));
        }
        for (id, server) in self.servers.iter_mut().filter(|(_, server)| server.enabled) {
            let at = |member: &str| format!("servers.{id}.{member}");
            values.extend(server.command.as_mut().map(|text| (at("command"), text)));
            values.extend(server.args.iter_mut().enumerate().map(|(n, text)| (at(&format!("args[{n}]")), text)));
            values.extend(server.cwd.as_mut().map(|text| (at("cwd"), text)));
            values.extend(server.url.as_mut().map(|text| (at("url"), text)));
            values.extend(server.env.iter_mut().map(|(name, v)| (at(&format!("env.{name}")), v.expose_mut())));
            values.extend(server.headers.iter_mut().map(|(name, v)| (at(&format!("headers.{name}")), v.expose_mut())));
        }
        values
    }
}
