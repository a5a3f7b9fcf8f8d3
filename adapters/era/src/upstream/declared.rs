//! What a caller said in its params, and what of it decides on the answers of a modern server.

use spanwire_mcp::{
    Json,
    input::{InputRequired, missing_capability, response_error},
    meta,
};
use spanwire_model::{Error, ErrorKind, Outcome};

/// True when the caller can be asked anything.
pub(super) fn may_be_asked(params: &Json) -> bool {
    let declared = capabilities(params.get("_meta").as_ref());
    ["elicitation", "sampling", "roots"].iter().any(|one| declared.get(one).is_some())
}

/// The members that matter, found in one pass.
pub(super) struct Said {
    /// `_meta`.
    pub meta: Option<Json>,
    responses: Option<Json>,
}

impl Said {
    pub(super) fn of(params: &Json) -> Self {
        let mut said = Self { meta: None, responses: None };
        for entry in params.entries() {
            let member = if entry.has_key("_meta") {
                &mut said.meta
            } else if entry.has_key("inputResponses") {
                &mut said.responses
            } else {
                continue;
            };
            member.get_or_insert(Json::from_trusted(params.as_bytes().slice(entry.value_range)));
        }
        said
    }

    /// The error of a legacy client among its answers: 2026-07-28 has no form for it, so that it ends the call.
    pub(super) fn error_answer(&self) -> Option<Error> {
        let responses = self.responses.as_ref()?;
        let error = responses
            .entries()
            .find_map(|entry| response_error(&Json::from_trusted(responses.as_bytes().slice(entry.value_range))));
        error.map(Error::from_server)
    }

    /// Lets a result pass, unless it asks for what the caller has not declared (2026-07-28, basic/patterns/mrtr, "Server
    /// Requirements").
    pub(super) fn declared(&self, server: &str, result: Json) -> Outcome {
        if let Some(asked) = InputRequired::read(&result) {
            self.check(server, asked)?;
        }
        Ok(result)
    }

    /// The same for the state of a task, which asks in the same members.
    pub(super) fn declared_by_task(&self, server: &str, task: Json) -> Outcome {
        if task.get("inputRequests").is_some() {
            self.check(server, InputRequired::of(&task))?;
        }
        Ok(task)
    }

    fn check(&self, server: &str, asked: Result<InputRequired, String>) -> Result<(), Error> {
        let bad = |text: String| Error::new(ErrorKind::BadServer, format!("server \"{server}\" {text}"));
        let asked = asked.map_err(|text| bad(format!("asked for input in a wrong form: {text}")))?;
        let capabilities = capabilities(self.meta.as_ref());
        for request in &asked.requests {
            if let Some(needed) = missing_capability(&capabilities, &request.method, request.params.as_ref()) {
                let (method, needed) = (&request.method, needed.as_str());
                return Err(bad(format!("asked for {method}, but the client has not declared {needed}")));
            }
        }
        Ok(())
    }
}

/// What the caller of a call's params declares; nothing, when it says nothing.
pub(super) fn capabilities(meta_in: Option<&Json>) -> Json {
    let declared = meta_in.and_then(|meta_in| meta_in.get(meta::CLIENT_CAPABILITIES));
    declared.filter(Json::is_object).unwrap_or_else(Json::empty_object)
}
