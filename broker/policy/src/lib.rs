//! Who may do what.
//!
//! Two decisions live here and nowhere else: a bearer token becomes a [`Principal`], and a call with its route becomes a
//! [`Permitted`]. Only this crate can make a `Permitted`, and only a `Permitted` can be forwarded, so a call that skipped
//! authorisation does not compile (broker/ARCHITECTURE.md).

mod permitted;
mod rules;
mod token;
mod uri;

use std::{collections::HashMap, sync::Arc};

pub use permitted::{Denied, Permitted};
use rules::Rules;
use spanwire_model::{Call, Error, ErrorKind, ListKind, Object, Principal, Result, Route};
pub use token::TokenDigest;

/// What a principal may do. Names are patterns with `*` and `?` over canonical names (`server__tool`, `server+uri`). An empty
/// list allows nothing.
#[derive(Debug, Clone, Default)]
pub struct PrincipalConfig {
    /// The name of the principal.
    pub name: String,
    /// Digests of its bearer tokens.
    pub tokens: Vec<TokenDigest>,
    /// Tools that it may list and call.
    pub tools: Vec<String>,
    /// Prompts that it may list and get.
    pub prompts: Vec<String>,
    /// Resources that it may list, read and subscribe to.
    pub resources: Vec<String>,
    /// Views that it may enter, by name; `*` for all. The federated view has the name `mcp`.
    pub views: Vec<String>,
}

/// The policy of one node. Immutable; a changed configuration makes a new one.
#[derive(Debug)]
pub struct Policy {
    principals: HashMap<Arc<str>, Rules>,
    tokens: HashMap<TokenDigest, Principal>,
    open: bool,
}

impl Policy {
    /// The policy of a node without principals: everybody is `anonymous` and may do everything.
    pub fn open() -> Self {
        let rules = [Principal::ANONYMOUS, Principal::OPERATOR].map(|name| (name.into(), Rules::everything()));
        Self { principals: rules.into(), tokens: HashMap::new(), open: true }
    }

    /// The policy of a node with principals. The operator of the node may do everything unless a principal of that name says
    /// otherwise; it has no token here, the control API knows it.
    pub fn new(principals: &[PrincipalConfig]) -> Self {
        let mut rules: HashMap<Arc<str>, Rules> = HashMap::from([(Principal::OPERATOR.into(), Rules::everything())]);
        let mut tokens = HashMap::new();
        for config in principals {
            let principal = Principal::new(config.name.as_str());
            rules.insert(principal.name.clone(), Rules::of(config));
            tokens.extend(config.tokens.iter().map(|token| (token.clone(), principal.clone())));
        }
        Self { principals: rules, tokens, open: false }
    }

    /// True when callers need a token.
    pub fn authenticates(&self) -> bool {
        !self.open
    }

    /// True when what is listed depends on who asks: such lists must not be shared between callers.
    pub fn varies_by_caller(&self) -> bool {
        !self.open
    }

    /// The principal of an `Authorization` header.
    ///
    /// # Errors
    /// `Unauthenticated`, with the same text whether the token is missing, malformed or unknown.
    pub fn authenticate(&self, authorization: Option<&str>) -> Result<Principal> {
        if self.open {
            return Ok(Principal::anonymous());
        }
        let refused = || Error::new(ErrorKind::Unauthenticated, "a valid bearer token is required");
        let (scheme, token) = authorization.and_then(|value| value.split_once(' ')).ok_or_else(refused)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused());
        }
        self.tokens.get(&TokenDigest::of(token.trim())).cloned().ok_or_else(refused)
    }

    /// Whether a principal may see and use an entry. Applied to lists and to calls alike.
    pub fn allows(&self, principal: &Principal, kind: ListKind, canonical: &str) -> bool {
        self.principals.get(&principal.name).is_some_and(|rules| rules.allows(kind, canonical))
    }

    /// Whether a principal may enter a view; `None` is the federated one.
    pub fn allows_view(&self, principal: &Principal, view: Option<&str>) -> bool {
        self.principals.get(&principal.name).is_some_and(|rules| rules.allows_view(view.unwrap_or("mcp")))
    }

    /// Decides on a call.
    ///
    /// # Errors
    /// [`Denied`], which the caller must tell in the same words as an unknown name.
    pub fn authorize(&self, call: Call, route: Route) -> std::result::Result<Permitted, Denied> {
        let allowed = match &route.object {
            Object::Entry { kind, canonical, .. } => self.allows(&call.principal, *kind, canonical),
            // A method that nobody here understands can only be judged by whether everything is allowed.
            Object::Server => self.principals.get(&call.principal.name).is_some_and(Rules::is_everything),
        };
        if allowed { Ok(Permitted::new(call, route)) } else { Err(Denied { call: Box::new(call) }) }
    }
}

#[cfg(test)]
mod tests;
