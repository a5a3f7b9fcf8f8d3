//! What a legacy server asks in the middle of one call, until it is answered.

use spanwire_mcp::{
    ErrorObject, Json, Request, RequestId, Response, codes,
    input::{InputRequest, missing_capability, response_error},
};

/// Requests of one call that may be open at once; further ones are refused.
const MAX_OPEN: usize = 32;

/// The open requests of one call.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: Vec<Question>,
    asked: u64,
}

#[derive(Debug)]
struct Question {
    key: String,
    request: Request,
    /// The caller has seen it, so that it can answer.
    told: bool,
}

impl Questions {
    /// Takes a request in. Its key is unique within the call's life. An error is the answer for the server.
    pub(super) fn ask(&mut self, request: Request) -> Result<(), ErrorObject> {
        if self.open.len() >= MAX_OPEN {
            let text = format!("this call has {MAX_OPEN} open requests already: answer to them comes first");
            return Err(ErrorObject::new(codes::INTERNAL_ERROR, text));
        }
        self.asked += 1;
        self.open.push(Question { key: format!("input-{}", self.asked), request, told: false });
        Ok(())
    }

    /// True when nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The server no longer wants an answer to a request; `false` when it is not one of these.
    pub(super) fn withdraw(&mut self, id: &RequestId) -> bool {
        let before = self.open.len();
        self.open.retain(|question| question.request.id != *id);
        self.open.len() < before
    }

    /// Everything that is open, for the caller.
    pub(super) fn tell(&mut self) -> Vec<InputRequest> {
        let told = |question: &mut Question| {
            question.told = true;
            let Request { method, params, .. } = question.request.clone();
            InputRequest { key: question.key.clone(), method, params }
        };
        self.open.iter_mut().map(told).collect()
    }

    /// Takes the caller's answers; what it left out stays open, and keys that it was not told mean nothing. Nothing is taken when
    /// one of them is no answer: the text says which.
    pub(super) fn answer(&mut self, responses: Option<&Json>) -> Result<Vec<Response>, String> {
        if responses.is_some_and(|responses| !responses.is_object()) {
            return Err("inputResponses is no object".to_owned());
        }
        let answer = |question: &Question| responses.filter(|_| question.told)?.get(&question.key);
        for question in &self.open {
            if answer(question).is_some_and(|answer| !answer.is_object()) {
                return Err(format!("inputResponses[\"{}\"] is no object", question.key));
            }
        }
        let mut answers = Vec::new();
        self.open.retain(|question| match answer(question) {
            Some(answer) => {
                let outcome = response_error(&answer).map_or(Ok(answer), Err);
                answers.push(Response { id: Some(question.request.id.clone()), outcome });
                false
            }
            None => true,
        });
        Ok(answers)
    }

    /// Answers everything that is open with an error.
    pub(super) fn refuse(&mut self, why: &str) -> Vec<Response> {
        let refused = |question: Question| refused(question.request.id, codes::INTERNAL_ERROR, why);
        self.open.drain(..).map(refused).collect()
    }
}

/// An error as the answer to a request of the server.
pub(super) fn refused(id: RequestId, code: i64, why: &str) -> Response {
    Response { id: Some(id), outcome: Err(ErrorObject::new(code, why)) }
}

/// The code for a server that asks for what the caller has not declared (2025-11-25, client/elicitation, client/sampling and
/// client/roots, "Error Handling"): a capability that is not there at all is an unknown method, a missing part of it is a wrong param.
pub(super) fn refusal_code(capabilities: &Json, needed: &Json) -> i64 {
    let name = needed.entries().next().map(|entry| entry.key()).unwrap_or_default();
    let partly = capabilities.get(&name).is_some_and(|capability| capability.is_object());
    if partly { codes::INVALID_PARAMS } else { codes::METHOD_NOT_FOUND }
}

/// The error for a server that asks for what the caller has not declared.
pub(super) fn refusal(capabilities: &Json, request: &Request) -> Option<ErrorObject> {
    let needed = missing_capability(capabilities, &request.method, request.params.as_ref())?;
    let code = refusal_code(capabilities, &needed);
    let text = format!("the client of this call has not declared {}", needed.as_str());
    let data = Json::empty_object().with(&[("requiredCapabilities", needed.as_bytes())], &[]);
    Some(ErrorObject { code, message: text, data: Some(data) })
}
