//! What is to run on this node, and who says so. Pure.
//!
//! Of one id, this node's own configuration goes first, then the registry, and last what an older version left in this node's store
//! (broker/decisions/0023).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use spanwire_model::{NodeId, Placement, ServerId, ServerSpec, Source, Target, Wanted};

use crate::{Config, machine::ServerRecord};

/// Everything that may say that a server is to run here.
pub(crate) struct Desired {
    node: NodeId,
    /// Every home is this node: no other one has this registry.
    owns_all: bool,
    /// Ids of the broker's own parts.
    reserved: BTreeSet<ServerId>,
    /// The configuration of this node, resolved.
    configured: BTreeMap<ServerId, ServerSpec>,
    /// The registry.
    records: BTreeMap<ServerId, Record>,
    /// What an older version left in the store of this node, and is not in the registry yet.
    kept: BTreeMap<ServerId, ServerSpec>,
}

struct Record {
    record: ServerRecord,
    /// `None` when a newer version wrote it in a way that this one cannot read.
    spec: Option<ServerSpec>,
}

/// A server that may run on this node: at once with the placement `here`, by a lease with `any`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// As it was written: resolved when it comes from the configuration.
    pub(crate) spec: ServerSpec,
    pub(crate) source: Source,
    /// The record that it comes from, where it comes from one.
    pub(crate) version: Option<u64>,
}

impl Want {
    /// True when a server that was started for `other` need not be started again for this one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_version = match (self.version, other.version) {
            (Some(a), Some(b)) => a == b,
            // What was kept becomes a record: that alone changes nothing.
            (None, _) | (_, None) => true,
        };
        same_version && self.source == other.source && self.spec == other.spec
    }
}

impl Desired {
    pub(crate) fn new(config: &Config, configured: Vec<ServerSpec>, kept: Vec<ServerSpec>) -> Self {
        let by_id = |specs: Vec<ServerSpec>| specs.into_iter().map(|spec| (spec.id.clone(), spec)).collect();
        Self {
            node: config.node.clone(),
            owns_all: config.owns_all,
            reserved: config.reserved.clone(),
            configured: by_id(configured),
            records: BTreeMap::new(),
            kept: by_id(kept),
        }
    }

    /// Takes what the registry says now.
    pub(crate) fn set_records(&mut self, records: Vec<(ServerId, Option<ServerRecord>)>) {
        let known = std::mem::take(&mut self.records);
        self.records = records
            .into_iter()
            .filter_map(|(id, record)| {
                let record = record?;
                let spec = record.spec.read().ok().filter(|spec: &ServerSpec| spec.id == id);
                let is_news = known.get(&id).is_none_or(|known| known.record != record);
                if spec.is_none() && is_news {
                    tracing::error!(server = %id, "was registered in a form that this version cannot read");
                }
                Some((id, Record { record, spec }))
            })
            .collect();
    }

    /// Whether this node's configuration has the server.
    pub(crate) fn is_configured(&self, id: &ServerId) -> bool {
        self.configured.contains_key(id)
    }

    /// Whether anybody still wants the server, here or elsewhere.
    pub(crate) fn knows(&self, id: &ServerId) -> bool {
        self.is_configured(id) || self.records.contains_key(id) || self.kept.contains_key(id)
    }

    /// What the store still has, and the registry does not.
    pub(crate) fn kept(&self) -> Vec<ServerSpec> {
        self.kept.values().cloned().collect()
    }

    /// The store has it no longer. True when it had.
    pub(crate) fn forget_kept(&mut self, id: &ServerId) -> bool {
        self.kept.remove(id).is_some()
    }

    /// What may run on this node.
    pub(crate) fn wants(&self) -> BTreeMap<ServerId, Want> {
        let mut wants: BTreeMap<ServerId, Want> = BTreeMap::new();
        let kept = self.kept.iter().map(|(id, spec)| (id, spec, Source::Registry, None));
        let records = self.records.iter().filter_map(|(id, Record { record, spec })| {
            let is_ours = self.home(record).is_none_or(|home| *home == self.node);
            let spec = spec.as_ref().filter(|_| is_ours)?;
            Some((id, spec, Source::Registry, Some(record.written.sequence)))
        });
        let configured = self.configured.iter().map(|(id, spec)| (id, spec, source(spec), None));
        // Whoever comes later goes first.
        for (id, spec, source, version) in kept.chain(records).chain(configured) {
            if self.reserved.contains(id) && source != Source::Builtin {
                continue;
            }
            wants.insert(id.clone(), Want { spec: spec.clone(), source, version });
        }
        wants
    }

    /// The node that a server is placed on.
    fn home<'a>(&'a self, record: &'a ServerRecord) -> Option<&'a NodeId> {
        record.home.as_ref().map(|home| if self.owns_all { &self.node } else { home })
    }

    /// What is to run anywhere, as far as it can be known here. `problem` says why this node cannot run a server.
    pub(crate) fn wanted(&self, problem: impl Fn(&ServerId) -> Option<Arc<str>>) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (id, spec) in &self.configured {
            if spec.placement == Placement::Any {
                wanted.push(Wanted {
                    id: id.clone(),
                    source: source(spec),
                    placement: spec.placement,
                    replicas: spec.replicas,
                    home: None,
                    by: Arc::default(),
                    version: 0,
                    problem: problem(id),
                });
            }
        }
        for (id, Record { record, spec }) in &self.records {
            let (placement, replicas) = record.placement();
            let problem = if spec.is_none() {
                Some("it was registered in a form that this version cannot read".into())
            } else if self.reserved.contains(id) {
                Some(
                    "is not run: its id belongs to the broker itself by now; remove it, and add it with another one"
                        .into(),
                )
            } else {
                problem(id)
            };
            wanted.push(Wanted {
                id: id.clone(),
                source: Source::Registry,
                placement,
                replicas,
                home: self.home(record).cloned(),
                by: record.written.principal.clone(),
                version: record.written.sequence,
                problem,
            });
        }
        // Stable: the configuration stays first.
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        wanted
    }
}

fn source(spec: &ServerSpec) -> Source {
    match &spec.target {
        Target::Builtin(_) => Source::Builtin,
        Target::Stdio(_) | Target::Http(_) => Source::Config,
    }
}

#[cfg(test)]
mod tests;
