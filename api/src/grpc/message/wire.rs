//! The protobuf messages of Nacos (`nacos_grpc_service.proto`, no package) and their gRPC framing:
//! one byte that says "not compressed", four bytes of length, the message.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use nacolet_model::limits;
use prost::Message;
use prost::encoding::{self, WireType};

/// Bytes ahead of every message.
pub(crate) const PREFIX_BYTES: usize = 5;

/// What travels in both directions.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Payload {
    #[prost(message, optional, tag = "2")]
    metadata: Option<WireMetadata>,
    #[prost(message, optional, tag = "3")]
    body: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct WireMetadata {
    /// Simple class name of the message in the body.
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(string, tag = "8")]
    client_ip: String,
    #[prost(btree_map = "string, string", tag = "7")]
    headers: BTreeMap<String, String>,
}

/// `google.protobuf.Any`. Clients disagree about the type URL, so nobody looks at it.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

impl Payload {
    /// Class name of what it carries; empty when it says none.
    pub(crate) fn kind(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.kind)
    }

    /// One header; empty is absent.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let value = self.metadata.as_ref()?.headers.get(name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// The JSON it carries, shared; empty where it carries none.
    pub(crate) fn shared_json(&self) -> Bytes {
        self.body.as_ref().map(|body| body.value.clone()).unwrap_or_default()
    }

    /// The JSON it carries; an absent one is no JSON.
    pub(crate) fn json(&self) -> &[u8] {
        self.body.as_ref().map_or(&[], |body| &body.value)
    }
}

/// What is in front of the JSON of a message of which the JSON has so many bytes: nothing follows
/// it.
pub(super) fn frame_head(kind: &str, json_bytes: usize) -> Vec<u8> {
    const BODY: u32 = 3;
    const VALUE: u32 = 2;
    let long = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let key = |head: &mut Vec<u8>, field, length| {
        encoding::encode_key(field, WireType::LengthDelimited, head);
        encoding::encode_varint(long(length), head);
    };
    let metadata =
        WireMetadata { kind: kind.to_owned(), client_ip: String::new(), headers: BTreeMap::new() };
    let mut value = Vec::new();
    key(&mut value, VALUE, json_bytes);
    let mut head = Vec::new();
    encoding::message::encode(METADATA, &metadata, &mut head);
    key(&mut head, BODY, value.len() + json_bytes);
    head.extend_from_slice(&value);
    let length = u32::try_from(head.len() + json_bytes).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &head].concat()
}

/// One message ready to be sent.
pub(crate) fn frame(kind: &str, json: Vec<u8>) -> Bytes {
    let metadata =
        WireMetadata { kind: kind.to_owned(), client_ip: String::new(), headers: BTreeMap::new() };
    let body = Any { type_url: String::new(), value: json.into() };
    let payload = Payload { metadata: Some(metadata), body: Some(body) };
    let length = payload.encoded_len();
    let mut frame = Vec::with_capacity(PREFIX_BYTES + length);
    frame.push(0);
    // A message is rendered from bounded state and stays far below four gigabytes.
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    // Encoding fails for want of room only, and a vector grows.
    let _ = payload.encode(&mut frame);
    frame.into()
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The message is longer than it may be.
    #[error("message is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    /// The message is compressed, which nobody offered.
    #[error("compressed messages are not supported")]
    Compressed,
    /// The message has too many headers.
    #[error("message has more than {} headers", limits::GRPC_HEADERS_MAX)]
    TooManyHeaders,
    /// The message is no `Payload`.
    #[error("message is not a Payload")]
    Malformed,
}

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    /// Where those begin that no message was made of yet.
    start: usize,
    bytes_max: usize,
}

impl Frames {
    /// For messages of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, bytes_max }
    }

    /// Takes what arrived. The caller asks [`Self::next`] until there is nothing before it takes
    /// more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // Room grows with what has come, and never beyond the message.
            let longest = self.announced().map_or(0, |length| length.saturating_add(PREFIX_BYTES));
            let room = self.bytes.capacity().saturating_mul(2).min(longest).max(needed);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What waits for the rest of its message, or to be asked for.
    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Whether no byte waits for the rest of its message.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// One header of a message whose head has come, while its body may still be under way: every
    /// client writes the fields of a message in their order.
    pub(crate) fn early_header(&self, name: &str) -> Option<String> {
        let mut message = self.waiting().get(PREFIX_BYTES..)?;
        let metadata = match encoding::decode_key(&mut message).ok()? {
            (METADATA, WireType::LengthDelimited) => text(&mut message)?,
            _ => return None,
        };
        (count_headers(metadata)? <= limits::GRPC_HEADERS_MAX)
            .then(|| WireMetadata::decode(metadata).ok()?.headers.remove(name))?
    }

    /// The next message that is there completely.
    pub(crate) fn next(&mut self) -> Result<Option<Payload>, FrameError> {
        let Some(length) = self.whole()? else {
            if self.start > 0 {
                self.bytes = self.bytes.split_off(std::mem::take(&mut self.start));
            }
            return Ok(None);
        };
        let begin = self.start + PREFIX_BYTES;
        let end = begin + length;
        // A long one is taken as it lies and a short one is copied, so that no more is moved than
        // its bytes.
        let message = if self.bytes.len() - length <= length {
            let next = self.bytes.split_off(end);
            self.start = 0;
            Bytes::from(std::mem::replace(&mut self.bytes, next)).slice(begin..)
        } else {
            self.start = end;
            Bytes::copy_from_slice(self.bytes.get(begin..end).unwrap_or_default())
        };
        // Each header costs many times its bytes, so they are counted before any of them is read.
        let headers = headers_of(&message).ok_or(FrameError::Malformed)?;
        if headers > limits::GRPC_HEADERS_MAX {
            return Err(FrameError::TooManyHeaders);
        }
        Ok(Some(Payload::decode(message).ok().ok_or(FrameError::Malformed)?))
    }

    /// The length of the next message, if all of it is there.
    fn whole(&self) -> Result<Option<usize>, FrameError> {
        let Some((prefix, rest)) = self.waiting().split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        if prefix[0] != 0 {
            return Err(FrameError::Compressed);
        }
        let length = self.announced().unwrap_or(usize::MAX);
        if length > self.bytes_max {
            return Err(FrameError::TooLarge { bytes_max: self.bytes_max });
        }
        Ok((rest.len() >= length).then_some(length))
    }

    /// What the prefix says of the length of the message.
    fn announced(&self) -> Option<usize> {
        let [_, length @ ..] = *self.waiting().first_chunk::<PREFIX_BYTES>()?;
        Some(usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
    }
}

/// Field numbers of `Payload.metadata` and `Metadata.headers`.
const METADATA: u32 = 2;
const HEADERS: u32 = 7;

/// How many headers a `Payload` has; nothing when it is none.
fn headers_of(payload: &[u8]) -> Option<usize> {
    each_text(payload, METADATA, count_headers)
}

fn count_headers(metadata: &[u8]) -> Option<usize> {
    each_text(metadata, HEADERS, |_| Some(1))
}

/// The sum of what `count` says of each text of this field.
fn each_text(
    mut message: &[u8],
    field: u32,
    count: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    let mut sum = 0_usize;
    while !message.is_empty() {
        let (number, kind) = encoding::decode_key(&mut message).ok()?;
        if (number, kind) == (field, WireType::LengthDelimited) {
            sum = sum.saturating_add(count(text(&mut message)?)?);
        } else {
            let context = encoding::DecodeContext::default();
            encoding::skip_field(kind, number, &mut message, context).ok()?;
        }
    }
    Some(sum)
}

/// Takes a text with its length.
fn text<'m>(message: &mut &'m [u8]) -> Option<&'m [u8]> {
    let length = usize::try_from(encoding::decode_varint(message).ok()?).ok()?;
    let (text, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use nacolet_model::Prng;

    use super::*;

    #[test]
    fn a_message_has_the_bytes_of_the_proto_file() {
        let golden = b"\0\0\0\0\x0c\x12\x03\x1a\x01A\x1a\x05\x12\x03{ }";
        assert_eq!(frame("A", b"{ }".to_vec()), &golden[..]);
    }

    #[test]
    fn a_message_in_parts_is_the_same_message() {
        for bytes in [1, 100, 127, 128, 70_000] {
            let json = vec![b' '; bytes];
            let whole = frame("ConfigQueryResponse", json.clone());
            assert_eq!([frame_head("ConfigQueryResponse", bytes), json].concat(), whole);
        }
    }

    #[test]
    fn messages_are_cut_wherever_they_were_torn() {
        let stream = [frame("A", b"1".to_vec()), frame("B", Vec::new())].concat();
        for cut in 0..stream.len() {
            let mut frames = Frames::new(100);
            let mut kinds = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                frames.push(part);
                while let Some(payload) = frames.next().expect("valid") {
                    kinds.push(payload.kind().to_owned());
                }
            }
            assert_eq!(kinds, ["A", "B"], "cut at {cut}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn headers_and_an_absent_body_are_read() {
        // metadata { type: "T", headers { "k": "v" } }
        let message = b"\x12\x0b\x1a\x01T\x3a\x06\x0a\x01k\x12\x01v";
        let payload = Payload::decode(&message[..]).expect("valid");
        assert_eq!((payload.kind(), payload.header("k")), ("T", Some("v")));
        assert_eq!(payload.json(), b"", "Nacos does not read it either");
    }

    #[test]
    fn what_is_too_large_or_compressed_is_refused_by_its_prefix() {
        let check = |bytes: &[u8], expected| {
            let mut frames = Frames::new(9);
            frames.push(bytes);
            assert_eq!(frames.next().expect_err("refused"), expected);
        };
        check(&[0, 0, 0, 0, 10], FrameError::TooLarge { bytes_max: 9 });
        check(&[0, 255, 255, 255, 255], FrameError::TooLarge { bytes_max: 9 });
        check(&[1, 0, 0, 0, 1], FrameError::Compressed);
        check(&[0, 0, 0, 0, 1, 255], FrameError::Malformed);
    }

    /// A message with so many headers, `{"0": "v", "1": "v", …}`, and a body behind them.
    fn with_headers(count: usize) -> Vec<u8> {
        let headers = (0..count).map(|number| (number.to_string(), "v".to_owned())).collect();
        let metadata = WireMetadata { kind: "T".to_owned(), client_ip: String::new(), headers };
        let body = Any { type_url: String::new(), value: b"{}".to_vec().into() };
        let payload = Payload { metadata: Some(metadata), body: Some(body) };
        let length = u32::try_from(payload.encoded_len()).expect("short");
        [&[0], &length.to_be_bytes()[..], &payload.encode_to_vec()].concat()
    }

    #[test]
    fn as_many_headers_are_read_as_may_be_and_no_more() {
        let next = |count| {
            let mut frames = Frames::new(1 << 20);
            frames.push(&with_headers(count));
            frames.next().map(|payload| payload.expect("complete").header("0").map(str::to_owned))
        };
        assert_eq!(next(limits::GRPC_HEADERS_MAX), Ok(Some("v".to_owned())));
        assert_eq!(next(limits::GRPC_HEADERS_MAX + 1), Err(FrameError::TooManyHeaders));
    }

    #[test]
    fn a_header_is_known_as_soon_as_it_is_there() {
        let message = with_headers(3);
        let mut frames = Frames::new(100);
        let mut since = None;
        for (at, byte) in message.iter().enumerate() {
            frames.push(&[*byte]);
            assert_eq!(frames.early_header("x"), None);
            if frames.early_header("1").is_some() {
                since.get_or_insert(at);
            }
        }
        // The body is its tag, its length, and the two of the JSON with its two bytes.
        assert_eq!(since, Some(message.len() - 1 - 6));
    }

    #[test]
    fn room_for_a_message_follows_what_has_come_of_it() {
        let mut frames = Frames::new(10 << 20);
        frames.push(&[0, 0, 160, 0, 0]);
        assert!(frames.bytes.capacity() < 1 << 10);
        for _ in 0..160 {
            frames.push(&[7; 16 << 10]);
            assert!(frames.bytes.capacity() <= 2 * frames.bytes.len());
        }
        frames.push(&[7; (10 << 20) - (160 << 14) - 1]);
        assert!(frames.bytes.capacity() <= (10 << 20) + PREFIX_BYTES);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = Prng::new(3);
        for _ in 0..20_000 {
            let mut frames = Frames::new(64);
            let count = usize::try_from(random.below(80)).expect("small");
            let mut byte = || u8::try_from(random.below(256)).expect("a byte");
            let mut bytes: Vec<u8> = (0..count).map(|_| byte()).collect();
            if count > PREFIX_BYTES {
                bytes[..4].fill(0);
            }
            frames.push(&bytes);
            while let Ok(Some(payload)) = frames.next() {
                let _ = (payload.kind().len(), payload.json().len());
            }
        }
    }
}
