//! The compiled rules of one principal.

use spanwire_model::ListKind;
use wildmatch::WildMatch;

use crate::{PrincipalConfig, uri};

#[derive(Debug)]
pub(crate) struct Rules {
    tools: Patterns,
    prompts: Patterns,
    resources: Patterns,
    views: Patterns,
}

#[derive(Debug)]
struct Patterns(Vec<WildMatch>);

impl Patterns {
    fn of(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| WildMatch::new(pattern)).collect())
    }

    fn all() -> Self {
        Self(vec![WildMatch::new("*")])
    }

    fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    fn is_all(&self) -> bool {
        self.0.iter().any(|pattern| pattern.pattern_chars().iter().collect::<String>() == "*")
    }
}

impl Rules {
    pub(crate) fn everything() -> Self {
        Self { tools: Patterns::all(), prompts: Patterns::all(), resources: Patterns::all(), views: Patterns::all() }
    }

    pub(crate) fn of(config: &PrincipalConfig) -> Self {
        Self {
            tools: Patterns::of(&config.tools),
            prompts: Patterns::of(&config.prompts),
            resources: Patterns::of(&config.resources),
            views: Patterns::of(&config.views),
        }
    }

    pub(crate) fn allows(&self, kind: ListKind, canonical: &str) -> bool {
        match kind {
            ListKind::Tools => self.tools.matches(canonical),
            ListKind::Prompts => self.prompts.matches(canonical),
            // What a pattern grants must still be granted after the server has resolved `..`.
            ListKind::Resources | ListKind::Templates => {
                self.resources.matches(canonical)
                    && uri::resolved(canonical).is_none_or(|resolved| self.resources.matches(&resolved))
            }
        }
    }

    pub(crate) fn allows_view(&self, view: &str) -> bool {
        self.views.matches(view)
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.tools.is_all() && self.prompts.is_all() && self.resources.is_all()
    }
}
