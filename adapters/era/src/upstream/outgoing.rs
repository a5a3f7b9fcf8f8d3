//! Params on their way to a server: `_meta` is spliced, everything else keeps its bytes.

use spanwire_mcp::{Json, Revision, meta, string_literal, tasks};
use spanwire_model::TraceContext;

const RESERVED_PREFIX: &str = "io.modelcontextprotocol/";

/// Members of a retry that only modern servers know: what they mean was done here.
const RETRY_MEMBERS: [&str; 2] = ["requestState", "inputResponses"];

/// What is put into `_meta` on the way out.
pub(super) struct Outgoing<'a> {
    /// The params as the caller gave them.
    pub params: &'a Json,
    /// Our token, where the caller gave one.
    pub progress_token: Option<i64>,
    /// The position in the trace.
    pub trace: Option<&'a TraceContext>,
}

impl Outgoing<'_> {
    /// For a modern server: revision, capabilities and client are there, whatever the caller left out.
    pub(super) fn modern(&self, revision: Revision, client_info: &Json) -> Json {
        self.modern_over(self.params.get("_meta"), revision, client_info)
    }

    /// The same, where `_meta` was found already.
    pub(super) fn modern_over(&self, meta_in: Option<Json>, revision: Revision, client_info: &Json) -> Json {
        let meta_in = meta_in.filter(Json::is_object).unwrap_or_else(Json::empty_object);
        let version = string_literal(revision.as_str());
        let mut set: Vec<(&str, &[u8])> = vec![(meta::PROTOCOL_VERSION, version.as_bytes())];
        if meta_in.get(meta::CLIENT_CAPABILITIES).is_none() {
            set.push((meta::CLIENT_CAPABILITIES, b"{}"));
        }
        if meta_in.get(meta::CLIENT_INFO).is_none() {
            set.push((meta::CLIENT_INFO, client_info.as_bytes()));
        }
        self.splice(&meta_in, &set, &[tasks::WISH], &[])
    }

    /// For a legacy server: the members that it does not know are gone, and `_meta` with them when nothing else is in it.
    pub(super) fn legacy(&self) -> Json {
        let meta_in = self.params.get("_meta").filter(Json::is_object);
        let keys: Vec<String> = meta_in.iter().flat_map(Json::entries).map(|entry| entry.key()).collect();
        let remove: Vec<&str> = keys
            .iter()
            .map(String::as_str)
            .filter(|key| key.starts_with(RESERVED_PREFIX) || *key == tasks::WISH)
            .collect();
        let nothing_is_left = remove.len() == keys.len() && self.progress_token.is_none() && self.trace.is_none();
        match meta_in {
            _ if nothing_is_left => {
                let [state, responses] = RETRY_MEMBERS;
                self.params.with(&[], &["_meta", state, responses])
            }
            Some(meta_in) => self.splice(&meta_in, &[], &remove, &RETRY_MEMBERS),
            None => self.splice(&Json::empty_object(), &[], &remove, &RETRY_MEMBERS),
        }
    }

    /// Sets and removes members of `_meta`, and removes others from the params.
    fn splice(&self, meta_in: &Json, set: &[(&str, &[u8])], remove: &[&str], others: &[&str]) -> Json {
        let token = self.progress_token.map(|token| token.to_string());
        let parent = self.trace.map(|trace| string_literal(&trace.traceparent()));
        let state = self.trace.and_then(|trace| trace.tracestate.as_deref()).map(string_literal);
        let (mut set, mut remove) = (set.to_vec(), remove.to_vec());
        match &token {
            Some(token) => set.push((meta::PROGRESS_TOKEN, token.as_bytes())),
            None => remove.push(meta::PROGRESS_TOKEN),
        }
        if let Some(parent) = &parent {
            set.push((meta::TRACEPARENT, parent.as_bytes()));
            match &state {
                Some(state) => set.push((meta::TRACESTATE, state.as_bytes())),
                None => remove.push(meta::TRACESTATE),
            }
        }
        let meta_out = meta_in.with(&set, &remove);
        self.params.with(&[("_meta", meta_out.as_bytes())], others)
    }
}
