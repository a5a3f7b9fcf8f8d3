//! What things are called in NATS.

use spanwire_model::{Shard, Tenant};

/// The names of one tenant.
#[derive(Debug, Clone)]
pub(super) struct Names {
    tenant: Tenant,
    /// The first tokens of every subject, such as `sw.v1`.
    prefix: String,
}

impl Names {
    pub(super) fn new(tenant: Tenant, prefix: impl Into<String>) -> Self {
        Self { tenant, prefix: prefix.into() }
    }

    /// The stream that keeps a shard's log. A tenant has no character that a stream's name may not have.
    pub(super) fn stream(&self, shard: Shard) -> String {
        format!("SW_{}_{}_{}", self.tenant, shard.book.name().to_uppercase(), shard.number)
    }

    /// The subject on which commands are appended.
    pub(super) fn subject(&self, shard: Shard) -> String {
        format!("{}.{}.log.{}.{}", self.prefix, self.tenant, shard.book.name(), shard.number)
    }

    /// The object store bucket of all snapshots.
    pub(super) fn bucket(&self) -> String {
        format!("SW_{}_SNAPSHOTS", self.tenant)
    }

    /// The stream that keeps it.
    pub(super) fn stream_of_bucket(&self) -> String {
        format!("OBJ_{}", self.bucket())
    }

    /// A snapshot in the bucket. Names of one shard sort by sequence.
    pub(super) fn object(shard: Shard, sequence: u64) -> String {
        format!("{shard}.{sequence:020}")
    }

    /// The sequence of a snapshot of the shard; `None` when the object is something else.
    pub(super) fn sequence_of(shard: Shard, object: &str) -> Option<u64> {
        object.strip_prefix(&format!("{shard}."))?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use spanwire_model::Book;

    use super::*;

    #[test]
    fn names_of_a_tenant() {
        let names = Names::new(Tenant::default(), "sw.v1");
        let shard = Shard { book: Book::Context, number: 3 };
        assert_eq!(names.stream(shard), "SW_default_CONTEXT_3");
        assert_eq!(names.subject(shard), "sw.v1.default.log.context.3");
        assert_eq!(names.bucket(), "SW_default_SNAPSHOTS");
        assert_eq!(Names::sequence_of(shard, &Names::object(shard, 17)), Some(17));
        assert_eq!(Names::sequence_of(Shard::REGISTRY, &Names::object(shard, 17)), None);
        assert!(Names::object(shard, 9) < Names::object(shard, 10));
    }
}
