//! Keys whose time is over.

use std::collections::BTreeMap;

use spanwire_mcp::Json;
use spanwire_model::{Entry, ViewMut};

use super::{Stop, outcome, space::Space};
use crate::{EventKind, Key, Quotas, SpaceName, command::Expired, layout};

/// Most keys that one command removes, whatever it says.
const MAX_AT_A_TIME: u16 = 1024;

/// Removes what is due by the entry's time, soonest first.
pub(super) fn apply(view: &mut dyn ViewMut, entry: &Entry, limit: u16, quotas: Quotas) -> Result<Json, Stop> {
    let soonest = view.scan(layout::DUES, None, usize::from(limit.min(MAX_AT_A_TIME)))?;
    let mut due: BTreeMap<SpaceName, Vec<Key>> = BTreeMap::new();
    for (at, _) in &soonest {
        let (due_ms, space, key) = layout::due_of(at)?;
        if due_ms > entry.time_ms {
            break;
        }
        due.entry(space).or_default().push(key);
    }
    let mut expired = 0;
    for (name, keys) in &due {
        let mut space = Space::open(view, entry, name, quotas)?;
        for key in keys {
            if let Some(old) = space.meta(key)? {
                space.remove(EventKind::Expire, key, &old)?;
                expired += 1;
            }
        }
        space.finish()?;
    }
    outcome(&Expired { expired })
}
