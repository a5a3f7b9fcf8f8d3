//! The proof that a call was authorised.

use spanwire_model::{Call, Route};

/// A call and its route that passed [`Policy::authorize`](crate::Policy::authorize). It has no other constructor.
#[derive(Debug, Clone)]
pub struct Permitted {
    call: Call,
    route: Route,
}

impl Permitted {
    pub(crate) fn new(call: Call, route: Route) -> Self {
        Self { call, route }
    }

    /// The call.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Where it goes.
    pub fn route(&self) -> &Route {
        &self.route
    }
}

/// A call that policy refused. Whoever tells the caller must use the words for a name that does not exist.
#[derive(Debug)]
pub struct Denied {
    /// The call.
    pub call: Box<Call>,
}
