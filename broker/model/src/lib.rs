//! The nouns of the broker, and the traits at the seams between its rooms.
//!
//! Inside the broker there is one form of everything: MCP 2026-07-28, one request, zero or more notifications, one
//! outcome. The docs of each trait are its laws; an implementation that breaks one is a bug in the implementation.

mod agent;
mod backbone;
mod call;
mod error;
mod id;
mod inventory;
mod lease;
mod ledger;
mod principal;
mod relay;
mod reply;
mod route;
mod server;
mod store;
mod trace;
mod upstream;

pub use agent::{Agent, AgentPage, AgentQuery, KnownAgent};
pub use backbone::{
    Address, Backbone, BusHandler, BusMessage, BusReply, BusRequest, Frame, Publication, ServeGuard, ServeOn, Topic,
};
pub use call::{Call, ClientFacts, Dispatch, EdgeTransport};
pub use error::{Error, ErrorKind, Origin, Result, Retry};
pub use id::{AgentId, InvalidId, NodeId, ServerId, Tenant};
pub use inventory::{
    Inventory, ListKind, Listing, ListingEntry, NodeInfo, NodeState, Placed, ServerEntry, Source, Wanted,
};
pub use lease::{Awake, Fence, Holding, Holdings, Lease, LeaseKeeper, Leases, suspended};
pub use ledger::{
    Applied, Author, Book, Command, Entry, Ledger, MAX_COMMAND_BYTES, MAX_VIEW_VALUE, Machine, OPERATIONS_KEPT, Read,
    ReadLevel, Receipt, Refusal, RefusalReason, Shard, ShardState, ShardStatus, View, ViewMut,
};
pub use principal::Principal;
pub use relay::{Exchange, ExchangePart, Exchanged, MAX_PIECE_BYTES, Relay, Relayed, Verb};
pub use reply::{Event, Outcome, Reply};
pub use route::{Object, Place, Route};
pub use server::{EraChoice, Health, HttpTarget, Placement, ServerFacts, ServerSpec, ServerState, StdioTarget, Target};
pub use store::{Pair, Store, StoreError, Write};
pub use trace::{InvalidTraceparent, TraceContext};
pub use upstream::{Connected, Connector, Notice, Upstream, UpstreamCall};
