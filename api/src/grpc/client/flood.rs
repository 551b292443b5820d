//! Counts the frames of a connection. h2 bounds what frames may make it keep; this bounds the work.
//! Every frame costs, whatever its kind; a call that is answered, a notice that is sent and the
//! bytes of both pay for as many as they need. So a busy client may send thousands of calls a
//! second, and one that sends pings, settings, window updates, refused heads, resets or data that
//! nobody reads without end is cut off.

use nacolet_model::{Instant, limits};

/// HTTP/2 preface of a client (RFC 9113 §3.4), which is no frame.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

/// Frame type of RFC 9113 §6.1.
const DATA: u8 = 0;

/// Walks over the frames of one connection as they arrive.
#[derive(Debug)]
pub(crate) struct Flood {
    /// Bytes that belong to the preface or to the payload of the current frame.
    skip: usize,
    head: [u8; HEAD_BYTES],
    head_length: usize,
    since: Instant,
    /// All but data.
    control: u32,
    data: u32,
    paid: Paid,
}

/// Frames that were paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paid {
    control: u32,
    data: u32,
}

impl Paid {
    /// A call was answered, or a notice sent, with so many bytes: they come back as window updates.
    pub(crate) fn sent(bytes: usize) -> Self {
        Self {
            control: limits::GRPC_CALL_FRAMES.saturating_add(frames(bytes)),
            data: limits::GRPC_CALL_FRAMES,
        }
    }

    /// Bytes of a message were taken.
    pub(crate) fn received(bytes: usize) -> Self {
        Self { control: 0, data: frames(bytes) }
    }

    pub(crate) fn and(self, more: Self) -> Self {
        Self {
            control: self.control.saturating_add(more.control),
            data: self.data.saturating_add(more.data),
        }
    }
}

fn frames(bytes: usize) -> u32 {
    u32::try_from(bytes / limits::GRPC_FRAME_BYTES).unwrap_or(u32::MAX)
}

impl Default for Flood {
    fn default() -> Self {
        let head = [0; HEAD_BYTES];
        Self {
            skip: PREFACE_BYTES,
            head,
            head_length: 0,
            since: Instant::ZERO,
            control: 0,
            data: 0,
            paid: Paid::default(),
        }
    }
}

impl Flood {
    /// Takes the bytes of one read, and for how many frames was paid since the last one; false when
    /// the connection has sent too many.
    pub(crate) fn allows(&mut self, mut bytes: &[u8], paid: Paid, now: Instant) -> bool {
        if now.saturating_since(self.since) >= limits::GRPC_FLOOD_WINDOW {
            (self.since, self.control, self.data, self.paid) = (now, 0, 0, Paid::default());
        }
        self.paid = self.paid.and(paid);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else { break };
            bytes = rest;
            self.head[self.head_length] = *byte;
            self.head_length += 1;
            if self.head_length == HEAD_BYTES {
                self.head_length = 0;
                self.frame();
            }
        }
        let max = limits::GRPC_FLOOD_FRAMES_MAX;
        self.control <= max.saturating_add(self.paid.control)
            && self.data <= max.saturating_add(self.paid.data)
    }

    fn frame(&mut self) {
        let [high, middle, low, kind, ..] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = length;
        if kind == DATA {
            // Its bytes are bounded by windows and by what bodies may hold.
            self.data = self.data.saturating_add(1);
        } else {
            self.control = self.control.saturating_add(1).saturating_add(frames(length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Paid = Paid { control: 0, data: 0 };
    const PING: u8 = 6;
    const PING_FRAME: [u8; 17] = [0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn with_preface(frames: &[u8]) -> Vec<u8> {
        [&[0xff; PREFACE_BYTES][..], frames].concat()
    }

    fn max() -> usize {
        usize::try_from(limits::GRPC_FLOOD_FRAMES_MAX).expect("small")
    }

    #[test]
    fn one_ping_beyond_the_limit_is_a_flood_until_the_window_is_over() {
        let mut flood = Flood::default();
        let now = Instant::from_millis(50);
        assert!(flood.allows(&with_preface(&PING_FRAME.repeat(max())), FREE, now));
        assert!(!flood.allows(&PING_FRAME, FREE, now));
        assert!(flood.allows(&PING_FRAME, FREE, now + limits::GRPC_FLOOD_WINDOW));
    }

    #[test]
    fn every_kind_of_frame_counts_whatever_is_in_it() {
        for kind in 0..=u8::MAX {
            for length in [0_u8, 1, 255] {
                let head = [0, 0, length, kind, 1, 0, 0, 0, 1];
                let frame = [&head[..], &vec![7; usize::from(length)]].concat();
                let mut flood = Flood::default();
                assert!(flood.allows(&with_preface(&frame.repeat(max())), FREE, Instant::ZERO));
                assert!(!flood.allows(&frame, FREE, Instant::ZERO), "{kind} {length}");
            }
        }
    }

    #[test]
    fn long_heads_count_for_more_and_long_data_does_not() {
        let check = |kind, expected| {
            let frame = [&[0, 0x40, 0, kind, 0, 0, 0, 0, 1][..], &[0; 16 << 10]].concat();
            let mut flood = Flood::default();
            assert!(flood.allows(&with_preface(&frame), FREE, Instant::ZERO));
            assert_eq!((flood.data, flood.control), expected, "{kind}");
        };
        check(DATA, (1, 0));
        for kind in [1, 4, 9, 200] {
            check(kind, (0, 17));
        }
    }

    #[test]
    fn what_calls_pay_for_is_no_flood() {
        let mut flood = Flood::default();
        assert!(flood.allows(&with_preface(&PING_FRAME.repeat(max())), FREE, Instant::ZERO));
        for _ in 0..10_000 {
            assert!(flood.allows(&PING_FRAME.repeat(8), Paid::sent(0), Instant::ZERO));
        }
        assert!(!flood.allows(&PING_FRAME, FREE, Instant::ZERO));
        assert!(!flood.allows(&[], Paid::received(1 << 30), Instant::ZERO), "data pays for data");
        assert!(flood.allows(&[], Paid::sent(1 << 10), Instant::ZERO));
    }

    #[test]
    fn torn_frames_count_once() {
        let mut data = vec![0, 0, 3, DATA, 0, 0, 0, 0, 1, PING, PING, PING];
        data.extend_from_slice(&[0, 0, 0, DATA, 1, 0, 0, 0, 1]);
        data.extend_from_slice(&PING_FRAME);
        let mut flood = Flood::default();
        for byte in with_preface(&data) {
            assert!(flood.allows(&[byte], FREE, Instant::ZERO));
        }
        assert_eq!((flood.data, flood.control, flood.skip, flood.head_length), (2, 1, 0, 0));
    }
}
