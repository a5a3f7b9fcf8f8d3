//! What a handler has made while there was no room for it.

use bytes::Bytes;
use spanwire_model::Frame;

/// At most one progress frame, the latest, and one frame that must arrive, which comes after it.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    progress: Option<Bytes>,
    next: Option<Frame>,
    ended: bool,
}

impl Backlog {
    /// False while a frame waits that must not be lost, and after the end: the handler is not asked for more.
    pub(crate) fn wants_more(&self) -> bool {
        self.next.is_none() && !self.ended
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.progress.is_none() && self.next.is_none()
    }

    /// Takes a frame. Only to be called while it [wants more](Self::wants_more).
    pub(crate) fn push(&mut self, frame: Frame) {
        match frame {
            Frame::Progress(payload) => self.progress = Some(payload),
            Frame::Message(_) => self.next = Some(frame),
            Frame::End { .. } => {
                self.ended = true;
                self.next = Some(frame);
            }
        }
    }

    /// The size of the frame that [`Self::pop`] would return.
    pub(crate) fn next_len(&self) -> Option<usize> {
        self.progress.as_ref().map(Bytes::len).or_else(|| self.next.as_ref().map(|frame| payload(frame).len()))
    }

    /// The next frame in order.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        self.progress.take().map(Frame::Progress).or_else(|| self.next.take())
    }
}

/// The bytes of a frame.
pub(crate) fn payload(frame: &Frame) -> &Bytes {
    match frame {
        Frame::Progress(payload) | Frame::Message(payload) | Frame::End { payload, .. } => payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_merged_and_messages_wait() {
        let mut backlog = Backlog::default();
        let progress = |text: &'static str| Frame::Progress(Bytes::from_static(text.as_bytes()));
        let message = |text: &'static str| Frame::Message(Bytes::from_static(text.as_bytes()));
        assert!(backlog.is_empty() && backlog.wants_more());
        backlog.push(progress("1"));
        backlog.push(progress("2"));
        assert!(backlog.wants_more());
        backlog.push(message("three"));
        assert!(!backlog.wants_more());
        assert_eq!(backlog.next_len(), Some(1));
        assert_eq!(backlog.pop(), Some(progress("2")));
        assert_eq!(backlog.next_len(), Some(5));
        assert_eq!(backlog.pop(), Some(message("three")));
        assert_eq!(backlog.pop(), None);
        assert!(backlog.is_empty() && backlog.wants_more());
        backlog.push(Frame::End { payload: Bytes::new(), elapsed: std::time::Duration::ZERO });
        assert!(backlog.pop().is_some());
        assert!(backlog.is_empty() && !backlog.wants_more(), "nothing comes after the end");
    }
}
