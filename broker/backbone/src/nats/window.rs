//! Credit: how much of a reply may be on the way.
//!
//! Both sides count frames and bytes from the beginning of the reply. The caller says what it has taken so far, so a lost
//! message of credit is made good by the next one. It says so after half a window; as long as no frame is larger than half
//! a window ([`Window::max_frame`]), a caller that has taken everything has always left room for the next frame.

/// The sending side.
#[derive(Debug)]
pub(super) struct Window {
    max: Amount,
    sent: Amount,
    taken: Amount,
}

/// The receiving side.
#[derive(Debug)]
pub(super) struct Taken {
    max: Amount,
    taken: Amount,
    told: Amount,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

impl Window {
    pub(super) fn new(max: Amount) -> Self {
        Self { max: Amount { frames: max.frames.max(2), ..max }, sent: Amount::default(), taken: Amount::default() }
    }

    /// Largest frame that cannot get stuck, in bytes.
    pub(super) fn max_frame(&self) -> usize {
        usize::try_from(self.max.bytes / 2).unwrap_or(usize::MAX).max(1)
    }

    /// True when a frame of this size may be sent. A frame larger than the window goes when it is alone.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let (frames, bytes) = (self.sent.frames - self.taken.frames, self.sent.bytes - self.taken.bytes);
        frames == 0 || (frames < self.max.frames && bytes + len as u64 <= self.max.bytes)
    }

    pub(super) fn sent(&mut self, len: usize) {
        self.sent.frames += 1;
        self.sent.bytes += len as u64;
    }

    /// What the caller says it has taken. It cannot have taken more than was sent, nor less than before.
    pub(super) fn taken(&mut self, taken: Amount) {
        self.taken.frames = taken.frames.clamp(self.taken.frames, self.sent.frames);
        self.taken.bytes = taken.bytes.clamp(self.taken.bytes, self.sent.bytes);
    }
}

impl Taken {
    pub(super) fn new(max: Amount) -> Self {
        Self { max, taken: Amount::default(), told: Amount::default() }
    }

    /// Counts a frame. True when the other side should be told, which is after half a window.
    pub(super) fn take(&mut self, len: usize) -> bool {
        self.taken.frames += 1;
        self.taken.bytes += len as u64;
        2 * (self.taken.frames - self.told.frames) >= self.max.frames
            || 2 * (self.taken.bytes - self.told.bytes) >= self.max.bytes
    }

    /// What to tell.
    pub(super) fn tell(&mut self) -> Amount {
        self.told = self.taken;
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(frames: u64, bytes: u64) -> Amount {
        Amount { frames, bytes }
    }

    #[test]
    fn frames_and_bytes_are_bounded() {
        let mut window = Window::new(amount(3, 100));
        assert!(window.has_room(1_000), "alone");
        window.sent(60);
        assert!(window.has_room(40) && !window.has_room(41));
        window.sent(10);
        window.sent(10);
        assert!(!window.has_room(0), "frames");
        window.taken(amount(2, 70));
        assert!(window.has_room(90) && !window.has_room(91));
        window.taken(amount(1, 5));
        assert!(!window.has_room(91), "never less");
        window.taken(amount(99, 999));
        window.sent(100);
        assert!(!window.has_room(1), "never more than was sent");
    }

    #[test]
    fn told_after_half_a_window() {
        let mut taken = Taken::new(amount(4, 100));
        assert!(!taken.take(1));
        assert!(taken.take(1));
        assert_eq!(taken.tell(), amount(2, 2));
        assert!(taken.take(60), "bytes");
        assert_eq!(taken.tell(), amount(3, 62));
        assert!(!taken.take(0));
    }

    #[test]
    fn nothing_stalls() {
        for max in [amount(2, 2), amount(3, 10), amount(64, 1 << 10)] {
            let (mut window, mut taken) = (Window::new(max), Taken::new(max));
            for len in (0..500).map(|n| n * 37 % (window.max_frame() + 1)).collect::<Vec<_>>() {
                assert!(window.has_room(len), "{len} of {max:?}");
                window.sent(len);
                if taken.take(len) {
                    window.taken(taken.tell());
                }
            }
        }
    }
}
