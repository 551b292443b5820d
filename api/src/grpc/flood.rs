//! Counts the control frames of a connection. h2 bounds what such frames may make it keep; this bounds
//! the work: a client that sends pings, settings, resets or empty frames without end is cut off.

use nacolet_model::{Instant, limits};

/// HTTP/2 preface of a client (RFC 9113 §3.4), which is no frame.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

/// Frame types of RFC 9113 §6.
const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

/// Flag of a DATA frame: the client says no more.
const END_STREAM: u8 = 1;

/// Walks over the frames of one connection as they arrive.
#[derive(Debug)]
pub(super) struct Flood {
    /// Bytes that belong to the preface or to the payload of the current frame.
    skip: usize,
    head: [u8; HEAD_BYTES],
    head_length: usize,
    since: Instant,
    count: u32,
}

impl Default for Flood {
    fn default() -> Self {
        let head = [0; HEAD_BYTES];
        Self { skip: PREFACE_BYTES, head, head_length: 0, since: Instant::ZERO, count: 0 }
    }
}

impl Flood {
    /// Takes the bytes of one read; false when the connection has sent too many control frames.
    pub(super) fn allows(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        if now.saturating_since(self.since) >= limits::GRPC_FLOOD_WINDOW {
            (self.since, self.count) = (now, 0);
        }
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
        self.count <= limits::GRPC_FLOOD_FRAMES_MAX
    }

    fn frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = length;
        let counts = match kind {
            PRIORITY | RST_STREAM | SETTINGS | PING | CONTINUATION => true,
            // Some libraries end every call with an empty frame, and calls are no flood.
            DATA => length == 0 && flags & END_STREAM == 0,
            _ => false,
        };
        self.count += u32::from(counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING_FRAME: [u8; 17] = [0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn with_preface(frames: &[u8]) -> Vec<u8> {
        [&[0xff; PREFACE_BYTES][..], frames].concat()
    }

    #[test]
    fn one_ping_beyond_the_limit_is_a_flood_until_the_window_is_over() {
        let max = usize::try_from(limits::GRPC_FLOOD_FRAMES_MAX).expect("small");
        let mut flood = Flood::default();
        let now = Instant::from_millis(50);
        assert!(flood.allows(&with_preface(&PING_FRAME.repeat(max)), now));
        assert!(!flood.allows(&PING_FRAME, now));
        assert!(flood.allows(&PING_FRAME, now + limits::GRPC_FLOOD_WINDOW));
    }

    #[test]
    fn torn_frames_count_once_and_data_counts_when_it_is_empty_and_ends_nothing() {
        let mut data = vec![0, 0, 3, DATA, 0, 0, 0, 0, 1, PING, PING, PING];
        data.extend_from_slice(&[0, 0, 0, DATA, END_STREAM, 0, 0, 0, 1]);
        data.extend_from_slice(&[0, 0, 0, DATA, 0, 0, 0, 0, 1]);
        data.extend_from_slice(&PING_FRAME);
        let mut flood = Flood::default();
        for byte in with_preface(&data) {
            assert!(flood.allows(&[byte], Instant::ZERO));
        }
        assert_eq!((flood.count, flood.skip, flood.head_length), (2, 0, 0));
    }
}
