//! One view: the lists that clients of one endpoint see.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use memchr::memmem;
use spanwire_mcp::{
    Json,
    mirror::{self, Mirrored},
    string_literal,
};
use spanwire_model::{ListKind, NodeId, Object, Place, Route, ServerEntry, ServerFacts, ServerId};
use wildmatch::WildMatch;

use crate::{InvalidCursor, Page, Stale, expose::app_uris, name, page};

/// The federated view in cursors: no view can have this name.
const FEDERATED: &str = "/";

/// A named view in the configuration.
#[derive(Debug, Clone)]
pub struct ViewConfig {
    /// Its name: `/mcp/{name}`.
    pub name: Arc<str>,
    /// Its servers; all of them when `None`.
    pub servers: Option<Vec<ServerId>>,
    /// Patterns over canonical tool names; all tools when `None`.
    pub tools: Option<Vec<String>>,
    /// Canonical tool or prompt name to the name in this view.
    pub rename: BTreeMap<String, String>,
    /// Whether names carry their server.
    pub prefix: Prefix,
}

/// Whether tool and prompt names of a view carry their server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// `{server}__{tool}`.
    Always,
    /// The server's own name where it is unique in the view; `{server}__{tool}` where it is not, and where the own name looks
    /// like that already, so that no server can take the name of another one's tool.
    Never,
}

/// One entry as the clients of a view see it.
#[derive(Debug, Clone)]
pub struct Exposed {
    /// The name or URI in this view.
    pub name: Arc<str>,
    /// `{server}__{name}` or `{server}+{uri}`, whatever the view calls it: what policy decides on.
    pub canonical: Arc<str>,
    /// The server's own name or URI.
    pub own_name: Arc<str>,
    /// The server.
    pub server: ServerId,
    /// The position in the server's own list.
    pub(crate) index: usize,
    /// The entry as it is listed, with the name of this view.
    pub json: Json,
    /// The arguments of a tool that clients over HTTP repeat in headers; `None` where there are none.
    pub mirrored: Option<Arc<[Mirrored]>>,
    /// Changes when `json` changes.
    fingerprint: u64,
}

/// One list of a view.
#[derive(Debug, Default)]
pub struct Section {
    /// The list and its view, for cursors.
    list: String,
    entries: Vec<Exposed>,
    by_name: HashMap<Arc<str>, usize>,
}

/// A server in a view, with its replicas.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: ServerId,
    pub(crate) place: Place,
    pub(crate) facts: Option<Arc<ServerFacts>>,
    pub(crate) call_timeout: Option<Duration>,
    /// The replica whose listing is shown.
    pub(crate) shown: Arc<ServerEntry>,
}

impl Member {
    /// Joins the replicas of one server: a local one is preferred, then a callable one, then the first node in order.
    pub(crate) fn of(replicas: &[Arc<ServerEntry>]) -> Option<Self> {
        let callable: Vec<_> = replicas.iter().filter(|entry| entry.health.state.is_callable()).collect();
        let shown = callable.iter().find(|entry| entry.local).or(callable.first()).copied();
        let shown = shown.or_else(|| replicas.iter().find(|entry| !entry.listing.is_empty())).or(replicas.first())?;
        let nodes: Vec<NodeId> = callable.iter().map(|entry| entry.node.clone()).collect();
        let place = match &*callable {
            [] => Place::Nowhere,
            some if some.iter().any(|entry| entry.local) => Place::Local,
            _ => Place::Remote(nodes.into()),
        };
        Some(Self {
            id: shown.id.clone(),
            place,
            facts: shown.facts.clone(),
            call_timeout: shown.call_timeout,
            shown: shown.clone(),
        })
    }
}

/// The lists that clients of one endpoint see.
#[derive(Debug)]
pub struct View {
    members: Vec<Member>,
    sections: [Section; 4],
    /// True when names and URIs are the server's own: the view of a single server.
    own_names: bool,
    /// The smallest of the servers' times to live.
    pub ttl_ms: u64,
    /// True when a server called its lists private.
    pub private: bool,
}

impl View {
    /// The view of one server, with nothing renamed.
    pub(crate) fn of_server(member: &Member, stale: Stale) -> Self {
        Self::build(member.id.as_str(), std::slice::from_ref(member), stale, true, |_, own, _| Some(own.clone()))
    }

    /// The federated view.
    pub(crate) fn federated(members: &[Member], stale: Stale) -> Self {
        Self::build(FEDERATED, members, stale, false, |_, _, federated| Some(federated.clone()))
    }

    /// A named view.
    pub(crate) fn named(config: &ViewConfig, members: &[Member], stale: Stale) -> Self {
        let members: Vec<Member> = members
            .iter()
            .filter(|member| config.servers.as_ref().is_none_or(|servers| servers.contains(&member.id)))
            .cloned()
            .collect();
        let patterns: Option<Vec<WildMatch>> =
            config.tools.as_ref().map(|patterns| patterns.iter().map(|pattern| WildMatch::new(pattern)).collect());
        let mut uses: HashMap<(ListKind, &str), usize> = HashMap::new();
        for member in &members {
            for kind in [ListKind::Tools, ListKind::Prompts] {
                for entry in member.shown.listing.of(kind) {
                    *uses.entry((kind, &*entry.name)).or_default() += 1;
                }
            }
        }
        Self::build(&config.name, &members, stale, false, |kind, own, federated| {
            let chosen = |patterns: &Vec<WildMatch>| patterns.iter().any(|pattern| pattern.matches(federated));
            match kind {
                ListKind::Resources | ListKind::Templates => Some(federated.clone()),
                ListKind::Tools if !patterns.as_ref().is_none_or(chosen) => None,
                ListKind::Tools | ListKind::Prompts => Some(match (config.rename.get(&**federated), config.prefix) {
                    (Some(name), _) => Arc::from(name.as_str()),
                    (None, Prefix::Never) if uses.get(&(kind, &**own)) == Some(&1) && !name::is_prefixed(own) => {
                        own.clone()
                    }
                    (None, Prefix::Never | Prefix::Always) => federated.clone(),
                }),
            }
        })
    }

    /// The one merge for all lists. `rename` gives an entry its name in this view, or hides it: it is told the server's own name
    /// and the one in the federated view.
    fn build(
        view: &str,
        members: &[Member],
        stale: Stale,
        own_names: bool,
        rename: impl Fn(ListKind, &Arc<str>, &Arc<str>) -> Option<Arc<str>>,
    ) -> Self {
        let sections = ListKind::ALL.map(|kind| {
            let mut section = Section { list: format!("{} {view}", kind.member()), ..Section::default() };
            for member in members {
                let is_stale = matches!(member.place, Place::Nowhere);
                if is_stale && stale == Stale::Drop {
                    continue;
                }
                for (index, entry) in member.shown.listing.of(kind).iter().enumerate() {
                    let canonical: Arc<str> = name::canonical(kind, &member.id, &entry.name).into();
                    let federated = match kind {
                        ListKind::Tools | ListKind::Prompts => canonical.clone(),
                        ListKind::Resources | ListKind::Templates => {
                            name::exposed(kind, &member.id, &entry.name).into()
                        }
                    };
                    if let Some(name) = rename(kind, &entry.name, &federated) {
                        let app = !own_names && kind == ListKind::Tools;
                        let listed = if app { app_uris(&entry.json, &member.id) } else { entry.json.clone() };
                        let json = listed_as(kind, &listed, &entry.name, &name, is_stale);
                        let own_name = entry.name.clone();
                        let fingerprint = hash(json.as_bytes());
                        let server = member.id.clone();
                        let mirrored = mirrored(kind, &entry.json);
                        section.push(Exposed { name, canonical, own_name, server, index, json, mirrored, fingerprint });
                    }
                }
            }
            section
        });
        let listings = || members.iter().map(|member| &member.shown.listing);
        Self {
            sections,
            own_names,
            ttl_ms: listings().map(|listing| listing.ttl_ms).min().unwrap_or(0),
            private: listings().any(|listing| listing.private),
            members: members.to_vec(),
        }
    }

    /// One list.
    pub fn section(&self, kind: ListKind) -> &Section {
        match kind {
            ListKind::Tools => &self.sections[0],
            ListKind::Prompts => &self.sections[1],
            ListKind::Resources => &self.sections[2],
            ListKind::Templates => &self.sections[3],
        }
    }

    /// Resolves a tool or prompt by its name in this view.
    pub fn resolve(&self, kind: ListKind, name: &str) -> Option<Route> {
        let exposed = self.section(kind).get(name)?;
        let member = self.members.iter().find(|member| member.id == exposed.server)?;
        Some(Self::route(member, kind, exposed.own_name.clone(), exposed.canonical.clone()))
    }

    /// Resolves a resource, listed or made from a template, by its URI in this view.
    pub fn resolve_uri(&self, uri: &str) -> Option<Route> {
        let (member, own) = if self.own_names {
            (self.members.first()?, Cow::Borrowed(uri))
        } else {
            let (server, own) = name::split_resource(uri)?;
            (self.members.iter().find(|member| member.id == server)?, own)
        };
        let canonical = name::canonical(ListKind::Resources, &member.id, &own);
        Some(Self::route(member, ListKind::Resources, (&*own).into(), canonical.into()))
    }

    /// The server as a whole, in the view of a single server.
    pub fn sole_server(&self) -> Option<Route> {
        self.route_to(&self.members.first().filter(|_| self.own_names)?.id)
    }

    /// The way to a server of this view, as a whole.
    pub fn route_to(&self, server: &ServerId) -> Option<Route> {
        let member = self.members.iter().find(|member| member.id == *server)?;
        Some(Route {
            server: member.id.clone(),
            object: Object::Server,
            place: member.place.clone(),
            call_timeout: member.call_timeout,
        })
    }

    fn route(member: &Member, kind: ListKind, own_name: Arc<str>, canonical: Arc<str>) -> Route {
        Route {
            server: member.id.clone(),
            object: Object::Entry { kind, own_name, canonical },
            place: member.place.clone(),
            call_timeout: member.call_timeout,
        }
    }

    /// True when URIs in results of this view must be exposed ones.
    pub fn rewrites_uris(&self) -> bool {
        !self.own_names
    }

    /// What the servers of the view said of themselves, in order.
    pub fn facts(&self) -> impl Iterator<Item = (&ServerId, &ServerFacts)> {
        self.members.iter().filter_map(|member| Some((&member.id, &**member.facts.as_ref()?)))
    }
}

impl Section {
    /// An entry by its name in the view.
    pub fn get(&self, name: &str) -> Option<&Exposed> {
        self.entries.get(*self.by_name.get(name)?)
    }

    fn push(&mut self, exposed: Exposed) {
        // A name that is taken keeps its first owner; only a configured rename can get here.
        if let Entry::Vacant(slot) = self.by_name.entry(exposed.name.clone()) {
            slot.insert(self.entries.len());
            self.entries.push(exposed);
        }
    }

    /// The entries, ordered by server and the server's own order.
    pub fn entries(&self) -> &[Exposed] {
        &self.entries
    }

    /// Changes when what the caller may see changes.
    pub fn fingerprint(&self, allowed: impl Fn(&Exposed) -> bool) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.entries.iter().filter(|entry| allowed(entry)).for_each(|entry| entry.fingerprint.hash(&mut hasher));
        hasher.finish()
    }

    /// One page of the entries that the caller may see.
    ///
    /// # Errors
    /// When the cursor is not one of ours.
    pub fn page(
        &self,
        cursor: Option<&str>,
        page_size: usize,
        allowed: impl Fn(&Exposed) -> bool,
    ) -> Result<Page<'_>, InvalidCursor> {
        page::cut(&self.list, &self.entries, cursor, page_size, allowed)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// What a tool wants mirrored. An invalid annotation asks for nothing: clients over HTTP leave such a tool out.
fn mirrored(kind: ListKind, json: &Json) -> Option<Arc<[Mirrored]>> {
    match kind {
        ListKind::Tools => {
            memmem::find(json.as_bytes(), mirror::ANNOTATION.as_bytes())?;
            let found = mirror::annotations(&json.get("inputSchema")?).unwrap_or_default();
            (!found.is_empty()).then(|| found.into())
        }
        ListKind::Prompts | ListKind::Resources | ListKind::Templates => None,
    }
}

/// The entry with its name in the view, byte for byte the server's where nothing is renamed.
fn listed_as(kind: ListKind, json: &Json, own: &str, name: &str, stale: bool) -> Json {
    let named =
        if own == name { json.clone() } else { json.with(&[(kind.key(), string_literal(name).as_bytes())], &[]) };
    if !stale {
        return named;
    }
    let meta = named.get("_meta").filter(Json::is_object).unwrap_or_else(Json::empty_object);
    let meta = meta.with(&[("spanwire/stale", b"true")], &[]);
    named.with(&[("_meta", meta.as_bytes())], &[])
}
