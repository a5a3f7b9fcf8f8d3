//! How many long streams each principal has open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use spanwire_model::{Error, ErrorKind, Principal};

/// The count of open streams per principal.
pub(crate) struct Streams {
    open: Arc<Mutex<HashMap<Arc<str>, usize>>>,
    max_per_principal: usize,
}

/// One open stream; dropping it gives the place back.
pub(crate) struct StreamSlot {
    open: Arc<Mutex<HashMap<Arc<str>, usize>>>,
    name: Arc<str>,
}

impl Streams {
    pub(crate) fn new(max_per_principal: usize) -> Self {
        Self { open: Arc::default(), max_per_principal }
    }

    /// Takes a place, or says that there is none.
    pub(crate) fn take(&self, principal: &Principal) -> Result<StreamSlot, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(principal.name.clone()).or_default();
        if *count >= self.max_per_principal {
            let text = format!("too many open streams: the limit is {}", self.max_per_principal);
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        *count += 1;
        Ok(StreamSlot { open: self.open.clone(), name: principal.name.clone() })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_per_principal_and_come_back() {
        let (streams, ann, bob) = (Streams::new(1), Principal::new("ann"), Principal::new("bob"));
        let slot = streams.take(&ann).unwrap();
        assert_eq!(streams.take(&ann).err().unwrap().kind, ErrorKind::Overloaded);
        assert!(streams.take(&bob).is_ok());
        drop(slot);
        assert!(streams.take(&ann).is_ok());
        assert!(streams.open.lock().unwrap().is_empty());
    }
}
