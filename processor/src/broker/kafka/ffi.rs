//! What rdkafka's safe interface does not offer, and nothing else: with [`produce`], the only `unsafe` of this crate.
//!
//! - Messages taken in batches: the safe poll makes one event and one allocation per message.
//! - Header names as bytes, both ways: the safe interface panics at a name that is not UTF-8.
//! - Ends of many partitions by one question: the safe interface has it for consumers only.
//!
//! The rules that make it sound, checked at each place:
//! 1. A handle is made from a living client, keeps that client alive by an [`Arc`], and is destroyed once, in `Drop`.
//! 2. A message's memory is lent for the time of one call and destroyed by us right after it, once.
//! 3. librdkafka's clients, queues and topics may be used from any thread.
#![allow(unsafe_code)]

pub(super) mod produce;

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::broker::fault::{Fault, Result};
use crate::broker::record_batch::headers::{self, Header};

/// The queue on which everything arrives that a consumer has asked for.
pub(super) struct MessageQueue<C: ConsumerContext + 'static> {
    queue: *mut rd::rd_kafka_queue_t,
    /// Rule 1.
    _consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: rule 3; the consumer that is kept alive is `Send` and `Sync` itself.
unsafe impl<C: ConsumerContext> Send for MessageQueue<C> {}
// SAFETY: as above; no method needs `&mut`.
unsafe impl<C: ConsumerContext> Sync for MessageQueue<C> {}

/// Room for the messages of one call. Holds no message between calls.
pub(super) struct Slots(Vec<*mut rd::rd_kafka_message_t>);

// SAFETY: between calls, which take it by `&mut`, it holds null pointers only.
unsafe impl Send for Slots {}

impl Slots {
    /// Room for `count` messages.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![ptr::null_mut(); count.max(1)])
    }
}

impl<C: ConsumerContext> MessageQueue<C> {
    /// The queue of a consumer that has a group id.
    pub(super) fn new(consumer: Arc<BaseConsumer<C>>) -> Result<Self> {
        // SAFETY: the client is alive; the call returns a new reference on the queue, or null.
        let queue = unsafe { rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        if queue.is_null() {
            return Err(Fault::fatal("the Kafka consumer has no queue"));
        }
        Ok(Self {
            queue,
            _consumer: consumer,
        })
    }

    /// Takes up to `most` messages and shows each to `each`; returns how many there were. Waits until all the room is
    /// filled or the time is over: to wait for the first message ask for one.
    pub(super) fn take(
        &self,
        timeout_ms: i32,
        most: usize,
        slots: &mut Slots,
        each: &mut dyn FnMut(&Message<'_>),
    ) -> usize {
        let room = most.min(slots.0.len());
        // SAFETY: the queue lives (rule 1); the array has at least `room` elements.
        let got = unsafe { rd::rd_kafka_consume_batch_queue(self.queue, timeout_ms, slots.0.as_mut_ptr(), room) };
        let got = usize::try_from(got).unwrap_or(0).min(room);
        for slot in &mut slots.0[..got] {
            let owned = OwnedMessage(std::mem::replace(slot, ptr::null_mut()));
            // SAFETY: librdkafka has put a valid message there, which lives until `owned` is dropped.
            each(&Message {
                fields: unsafe { &*owned.0 },
                whole: owned.0,
            });
        }
        got
    }

    /// Ends a waiting [`MessageQueue::take`], or the next one that would wait.
    pub(super) fn wake(&self) {
        // SAFETY: the queue lives (rule 1).
        unsafe { rd::rd_kafka_queue_yield(self.queue) }
    }
}

impl<C: ConsumerContext> Drop for MessageQueue<C> {
    fn drop(&mut self) {
        // SAFETY: our reference, given back once; the consumer is dropped after this.
        unsafe { rd::rd_kafka_queue_destroy(self.queue) }
    }
}

/// Destroys the message, also when whoever looks at it panics (rule 2).
struct OwnedMessage(*mut rd::rd_kafka_message_t);

impl Drop for OwnedMessage {
    fn drop(&mut self) {
        // SAFETY: the message is ours, and this is the only place that destroys one.
        unsafe { rd::rd_kafka_message_destroy(self.0) }
    }
}

/// A message, or an error about a partition, lent for the time of a call.
pub(super) struct Message<'a> {
    fields: &'a rd::rd_kafka_message_t,
    /// librdkafka's own structure, of which `fields` is the public part.
    whole: *mut rd::rd_kafka_message_t,
}

impl Message<'_> {
    /// The error this stands for, if it is no record.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        let code = self.fields.err;
        (code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code.into())
    }

    /// What the error says.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is alive; the text is static or part of the message, and ends with NUL.
        let text = unsafe { rd::rd_kafka_message_errstr(self.whole) };
        if text.is_null() {
            String::new()
        } else {
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        }
    }

    /// Tells one topic from another while messages of both are at hand; costs nothing.
    pub(super) fn topic_id(&self) -> usize {
        self.fields.rkt as usize
    }

    /// The topic's name; empty for an error that belongs to none.
    pub(super) fn topic(&self) -> &str {
        if self.fields.rkt.is_null() {
            return "";
        }
        // SAFETY: the message holds a reference on its topic, whose name ends with NUL and lives as long.
        let name = unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(self.fields.rkt)) };
        // Kafka's topic names are ASCII.
        name.to_str().unwrap_or_default()
    }

    /// The partition.
    pub(super) fn partition(&self) -> i32 {
        self.fields.partition
    }

    /// The offset.
    pub(super) fn offset(&self) -> i64 {
        self.fields.offset
    }

    /// The timestamp; -1 when there is none.
    pub(super) fn timestamp(&self) -> i64 {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, `kind` may be written to.
        unsafe { rd::rd_kafka_message_timestamp(self.whole, &mut kind) }
    }

    /// The key.
    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: the message's own memory, alive as long as it is.
        unsafe { bytes(self.fields.key, self.fields.key_len) }
    }

    /// The value.
    pub(super) fn value(&self) -> Option<&[u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.fields.payload, self.fields.len) }
    }

    /// Appends the header block to `out`; nothing when there are no headers.
    pub(super) fn write_headers(&self, out: &mut Vec<u8>) {
        let mut list = ptr::null_mut();
        // SAFETY: the message is alive. Headers are parsed into it at the first call, beside the public part, through the
        // pointer librdkafka gave us; nobody else has it. The list belongs to the message.
        let code = unsafe { rd::rd_kafka_message_headers(self.whole, &mut list) };
        if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || list.is_null() {
            return;
        }
        let mut found: Vec<Header<'_>> = Vec::new();
        let (mut name, mut value, mut len): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list lives as long as the message; an index behind its end gives an error. A name ends with NUL; a
        // value has `len` bytes or is null. Both belong to the list.
        unsafe {
            while rd::rd_kafka_header_get_all(list, found.len(), &mut name, &mut value, &mut len)
                == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                found.push((CStr::from_ptr(name).to_bytes(), bytes(value, len)));
            }
        }
        headers::encode(found.into_iter(), out);
    }
}

/// Puts offsets in place of the times in `list`, by one question to each leader; a time may be [`Offset::Beginning`] or
/// [`Offset::End`].
///
/// [`Offset::Beginning`]: rdkafka::Offset::Beginning
/// [`Offset::End`]: rdkafka::Offset::End
pub(super) fn offsets_for_times<C: ClientContext>(
    client: &Client<C>,
    list: &mut TopicPartitionList,
    timeout: Duration,
) -> Result<(), KafkaError> {
    let wait = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive; the list is lent to us alone for the time of the call, which does not keep it.
    let code = unsafe { rd::rd_kafka_offsets_for_times(client.native_ptr(), list.ptr(), wait) };
    match code {
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::OffsetFetch(code.into())),
    }
}

/// Null, or `len` bytes.
///
/// # Safety
/// A pointer that is not null has `len` bytes behind it, which live and do not change for `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// Where a partition ended when it was last fetched; asks nobody.
pub(super) fn cached_end<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: i32) -> Option<i64> {
    let name = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive; the two numbers may be written to; the name ends with NUL.
    let code = unsafe {
        let client = consumer.client().native_ptr();
        rd::rd_kafka_get_watermark_offsets(client, name.as_ptr(), partition, &mut low, &mut high)
    };
    (code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}
