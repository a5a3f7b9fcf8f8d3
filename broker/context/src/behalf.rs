//! The context as one principal sees it: what it may not read is not there, what it may not do is refused.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use spanwire_mcp::Json;
use spanwire_model::{Author, Error, ErrorKind, Result};

use crate::{
    Contexts, Event, EventPage, Item, ItemPage, Key, ListQuery, LogQuery, MAX_PAGE, Operation, Options, Reading, Seen,
    SpaceInfo, SpaceName, SpacePage, Transaction, Verb, Watch, Written, reads, watch, write,
};

/// The context on behalf of a principal. Made by [`Contexts::on_behalf`].
#[derive(Debug, Clone)]
pub struct OnBehalf {
    contexts: Contexts,
    author: Author,
}

impl OnBehalf {
    pub(crate) fn new(contexts: Contexts, author: Author) -> Self {
        Self { contexts, author }
    }

    /// Changes a space: everything or nothing. The space is made when it is not there.
    ///
    /// # Errors
    /// `Conflict` when a condition does not hold; its `data` says what is there: `{"key","exists","version","time_ms","writer"}`.
    /// `QuotaExceeded` with `{"quota","limit","wanted"}`. `InvalidParams` for what makes no sense, `Denied` for what is not allowed.
    /// `Unavailable` and `Overloaded`: it was not done. `DeadlineExceeded`: it may have been done; `data.operation` is the id under
    /// which it can be repeated to find out.
    pub async fn write(&self, space: &SpaceName, transaction: Transaction, options: Options) -> Result<Written> {
        for condition in &transaction.conditions {
            self.demand(space, &condition.key, &[Verb::Read], "read")?;
        }
        for operation in &transaction.operations {
            match operation {
                Operation::Put { key, .. } | Operation::Delete { key } => {
                    self.demand(space, key, &[Verb::Write], "written")?
                }
                // Whether a patch fits tells of what is there.
                Operation::PatchMerge { key, .. } | Operation::PatchJson { key, .. } => {
                    self.demand(space, key, &[Verb::Write], "written")?;
                    self.demand(space, key, &[Verb::Read], "read")?;
                }
                Operation::Append { key, .. } => {
                    self.demand(space, key, &[Verb::Append, Verb::Write], "appended to")?
                }
            }
        }
        let sees = |key: &Key| self.may(space, Some(key), Verb::Read);
        let sees_all = transaction.operations.iter().all(|operation| sees(operation.key()));
        let written = write::write(&self.contexts, &self.author, space, transaction, options).await;
        let written = written.map_err(|error| match error.kind {
            ErrorKind::QuotaExceeded if !self.may_read_all(space) => uncounted(error, sees_all),
            _ => error,
        });
        if sees_all {
            return written;
        }
        // Whoever may write a key and not read it is not told what was there.
        match written {
            Ok(mut written) => {
                for done in written.results.iter_mut().filter(|done| !sees(&done.key)) {
                    (done.changed, done.length) = (true, None);
                }
                Ok(written)
            }
            Err(error) if error.kind == ErrorKind::Conflict => {
                Err(Error::new(ErrorKind::Conflict, "the write does not fit what is there"))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a space with everything in it; returns how many keys it had. `None` when it was not there.
    pub async fn drop_space(&self, space: &SpaceName, options: Options) -> Result<Option<u64>> {
        if !self.may(space, None, Verb::Admin) {
            return Err(denied(format!("space \"{space}\" may not be dropped by \"{}\"", self.author.principal)));
        }
        write::drop_space(&self.contexts, &self.author, space, options).await
    }

    /// A key with its value; `None` when it is not there.
    pub async fn get(&self, space: &SpaceName, key: &Key, reading: Reading) -> Result<Seen<Option<Item>>> {
        let may = self.may(space, Some(key), Verb::Read);
        let shard = Contexts::shard_of(space);
        self.contexts.read(shard, reading, |view| if may { reads::item(view, space, key) } else { Ok(None) }).await
    }

    /// Several keys as they were at one sequence, in the order of `keys`; at most [`MAX_PAGE`].
    pub async fn get_many(&self, space: &SpaceName, keys: &[Key], reading: Reading) -> Result<Seen<Vec<Option<Item>>>> {
        if keys.len() > MAX_PAGE {
            let text = format!("{} keys at once, the limit is {MAX_PAGE}", keys.len());
            return Err(Error::new(ErrorKind::InvalidParams, text));
        }
        let keys: Vec<(&Key, bool)> = keys.iter().map(|key| (key, self.may(space, Some(key), Verb::Read))).collect();
        let shard = Contexts::shard_of(space);
        self.contexts
            .read(shard, reading, |view| {
                let read = |(key, may): &(&Key, bool)| if *may { reads::item(view, space, key) } else { Ok(None) };
                keys.iter().map(read).collect()
            })
            .await
    }

    /// A page of keys in their order.
    pub async fn list(&self, space: &SpaceName, query: &ListQuery, reading: Reading) -> Result<Seen<ItemPage>> {
        let may = |key: &Key| self.may(space, Some(key), Verb::Read);
        self.contexts.read(Contexts::shard_of(space), reading, |view| reads::list(view, space, query, &may)).await
    }

    /// A page of what happened.
    ///
    /// # Errors
    /// `Conflict` with `{"reason":"gone","first"}` when `from` is older than what is kept: read a snapshot, and go on after it.
    pub async fn log(&self, space: &SpaceName, query: &LogQuery, reading: Reading) -> Result<Seen<EventPage>> {
        let may = |key: Option<&Key>| self.may(space, key, Verb::Read);
        let page =
            self.contexts.read(Contexts::shard_of(space), reading, |view| reads::log(view, space, query, &may)).await?;
        watch::is_kept(space, query.from, page.value.first)?;
        Ok(page)
    }

    /// The last changes of a key, oldest first, as far as the log goes; at most `limit`, 0 for [`MAX_PAGE`].
    pub async fn versions(
        &self,
        space: &SpaceName,
        key: &Key,
        limit: usize,
        reading: Reading,
    ) -> Result<Seen<Vec<Event>>> {
        let may = self.may(space, Some(key), Verb::Read);
        let shard = Contexts::shard_of(space);
        self.contexts
            .read(shard, reading, |view| if may { reads::versions(view, space, key, limit) } else { Ok(Vec::new()) })
            .await
    }

    /// What happens from `from` on to keys that begin with the prefix, every event once and in order: from the oldest that is kept with
    /// 0, from now on with `None`. It goes on from where it was with the sequence of the last event that was seen: a write may have more
    /// events than were seen of it, and those that were seen come again and are to be passed over.
    ///
    /// It ends with an error: `Conflict` with `{"reason":"gone","first"}` when `from`, or the watcher, is further behind than the log
    /// goes; `Unavailable` when the shard stops.
    pub fn watch(&self, space: &SpaceName, prefix: &str, from: Option<u64>, values: bool) -> Watch {
        let (access, principal) = (self.contexts.inner.config.access.clone(), self.author.principal.clone());
        let sees = {
            let space = space.clone();
            Arc::new(move |key: Option<&Key>| access.may(&principal, &space, key, Verb::Read))
        };
        watch::watch(&self.contexts, space, prefix, from, values, sees)
    }

    /// All keys that begin with the prefix, with their values, as they were at one sequence; of keys and values at most `max_bytes`.
    ///
    /// # Errors
    /// `TooLarge` for more than `max_bytes`.
    pub async fn snapshot(
        &self,
        space: &SpaceName,
        prefix: &str,
        max_bytes: u64,
        reading: Reading,
    ) -> Result<Seen<Vec<Item>>> {
        let (this, space, prefix) = (self.clone(), space.clone(), prefix.to_owned());
        self.contexts.inner.ledger.reach(Contexts::shard_of(&space), reading.level, reading.deadline).await?;
        // Long enough to be kept away from the threads that everybody shares.
        let reading = Reading { level: spanwire_model::ReadLevel::Local, ..reading };
        let runtime = tokio::runtime::Handle::current();
        let read = move || {
            let may = |key: &Key| this.may(&space, Some(key), Verb::Read);
            let read = this.contexts.read(Contexts::shard_of(&space), reading, |view| {
                reads::snapshot(view, &space, &prefix, max_bytes, &may)
            });
            runtime.block_on(read)
        };
        let joined = tokio::task::spawn_blocking(read).await;
        let broken = |error| Err(Error::new(ErrorKind::Internal, "the snapshot broke off").with_private(error));
        let Seen { value, sequence, stale_ms } = joined.unwrap_or_else(broken)?;
        let too_large = || {
            let text =
                format!("the keys and values have more than {max_bytes} bytes: read them with list, page by page");
            Error::new(ErrorKind::TooLarge, text)
        };
        Ok(Seen { value: value.ok_or_else(too_large)?, sequence, stale_ms })
    }

    /// The spaces whose names begin with the prefix and come after a name, in order; at most `limit`, 0 for [`MAX_PAGE`].
    pub async fn spaces(
        &self,
        prefix: &str,
        after: Option<&SpaceName>,
        limit: usize,
        reading: Reading,
    ) -> Result<SpacePage> {
        let limit = if limit == 0 { MAX_PAGE } else { limit.min(MAX_PAGE) };
        let may = |space: &SpaceName| self.may(space, None, Verb::Read);
        let (mut all, mut stale_ms) = (Vec::new(), None);
        for shard in Contexts::shards() {
            // One more than is told, to know whether there is a next page.
            let read = self.contexts.read(shard, reading, |view| reads::spaces(view, prefix, after, limit + 1, &may));
            let seen = read.await?;
            all.extend(seen.value);
            stale_ms = stale_ms.max(seen.stale_ms);
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let more = all.len() > limit;
        all.truncate(limit);
        let next = all.last().filter(|_| more).map(|last| last.name.clone());
        Ok(SpacePage { spaces: all.into_iter().map(|info| self.shown(info)).collect(), next, stale_ms })
    }

    /// What a space counts; `None` when it is not there.
    pub async fn describe(&self, space: &SpaceName, reading: Reading) -> Result<Seen<Option<SpaceInfo>>> {
        let may = self.may(space, None, Verb::Read);
        self.contexts
            .read(Contexts::shard_of(space), reading, |view| {
                Ok(if may { reads::describe(view, space)?.map(|info| self.shown(info)) } else { None })
            })
            .await
    }

    fn may_read_all(&self, space: &SpaceName) -> bool {
        self.contexts.inner.config.access.may_read_all(&self.author.principal, space)
    }

    /// A space as the principal may know it: what it counts tells of keys that may not be read.
    fn shown(&self, info: SpaceInfo) -> SpaceInfo {
        if self.may_read_all(&info.name) {
            return info;
        }
        SpaceInfo { keys: 0, bytes: 0, events: 0, log_bytes: 0, last: 0, ..info }
    }

    fn may(&self, space: &SpaceName, key: Option<&Key>, verb: Verb) -> bool {
        self.contexts.inner.config.access.may(&self.author.principal, space, key, verb)
    }

    /// One of the verbs is enough.
    fn demand(&self, space: &SpaceName, key: &Key, verbs: &[Verb], done: &str) -> Result<()> {
        if verbs.iter().any(|verb| self.may(space, Some(key), *verb)) {
            return Ok(());
        }
        let text = format!("key \"{key}\" of space \"{space}\" may not be {done} by \"{}\"", self.author.principal);
        Err(denied(text))
    }
}

/// A quota's refusal without what is there, which counts keys that may not be read. `sees_all` is true for a write of keys that may.
fn uncounted(error: Error, sees_all: bool) -> Error {
    #[derive(Deserialize)]
    struct Told {
        quota: String,
        limit: u64,
    }
    let told: Option<Told> = error.data.as_ref().and_then(|data| data.read().ok());
    let Some(Told { quota, limit }) = told else {
        return Error::new(ErrorKind::QuotaExceeded, "the write is more than a quota allows");
    };
    if quota == "operations" || (quota == "value_bytes" && sees_all) {
        return error;
    }
    let data = json!({ "kind": "quota_exceeded", "retry": "never", "quota": quota, "limit": limit });
    Error::new(ErrorKind::QuotaExceeded, format!("the write is more than the quota \"{quota}\" allows: {limit}"))
        .with_data(Json::from_trusted(data.to_string()))
}

fn denied(text: String) -> Error {
    Error::new(ErrorKind::Denied, text).with_data(Json::from_trusted(&b"{\"kind\":\"denied\",\"retry\":\"never\"}"[..]))
}
