//! Producing, where the safe interface lacks something.
//!
//! - A topic handle, instead of a look-up by name per record; headers whose names are any bytes.
//! - Delivery reports in batches: the safe poll counts a reference up and down for each record, and reads the clock.
//!
//! `rd_kafka_produce_batch` is of no use here: it takes neither timestamps nor headers.
//!
//! The rules of [`super`] hold here too.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;

use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use crate::broker::Waker;
use crate::broker::fault::{Fault, Result};
use crate::broker::record_batch::headers;

/// How many delivery reports are taken out of an event at a time.
const REPORTS: usize = 512;

/// A topic to produce to.
pub(in crate::broker::kafka) struct TopicHandle<C: ProducerContext + 'static> {
    topic: *mut rd::rd_kafka_topic_t,
    /// Rule 1.
    producer: Arc<BaseProducer<C>>,
}

// SAFETY: rule 3; the producer that is kept alive is `Send` itself.
unsafe impl<C: ProducerContext> Send for TopicHandle<C> {}

/// A record to produce.
pub(in crate::broker::kafka) struct Produce<'a> {
    pub(in crate::broker::kafka) partition: i32,
    /// Not 0, which librdkafka takes for the time of the call.
    pub(in crate::broker::kafka) timestamp: i64,
    pub(in crate::broker::kafka) key: Option<&'a [u8]>,
    pub(in crate::broker::kafka) value: Option<&'a [u8]>,
    /// A well-formed header block, or empty.
    pub(in crate::broker::kafka) headers: &'a [u8],
    /// Comes back with the delivery report.
    pub(in crate::broker::kafka) tag: usize,
}

impl<C: ProducerContext> TopicHandle<C> {
    /// A handle on `topic`.
    pub(in crate::broker::kafka) fn new(producer: Arc<BaseProducer<C>>, topic: &str) -> Result<Self> {
        let name = CString::new(topic).map_err(|_| Fault::misuse(format!("topic name {topic:?} has a NUL")))?;
        // SAFETY: the client is alive; the name is copied; without a configuration the client's own is taken.
        let handle = unsafe { rd::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if handle.is_null() {
            return Err(Fault::fatal(format!(
                "the Kafka client gives no handle for topic {topic}"
            )));
        }
        Ok(Self {
            topic: handle,
            producer,
        })
    }

    /// Copies the record into the client's queue.
    pub(in crate::broker::kafka) fn produce(&self, record: &Produce<'_>) -> Result<(), RDKafkaErrorCode> {
        use rd::rd_kafka_vtype_t as vtype;
        let headers = HeaderList::new(record.headers);
        let list = headers.as_ref().map_or(ptr::null_mut(), |list| list.0);
        // A null key or value has no memory: librdkafka makes a null of it.
        let fields = [
            field(vtype::RD_KAFKA_VTYPE_RKT, Value { rkt: self.topic }),
            field(vtype::RD_KAFKA_VTYPE_PARTITION, Value { i32_: record.partition }),
            field(
                vtype::RD_KAFKA_VTYPE_MSGFLAGS,
                Value {
                    i: rd::RD_KAFKA_MSG_F_COPY,
                },
            ),
            field(vtype::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: record.timestamp }),
            field(
                vtype::RD_KAFKA_VTYPE_OPAQUE,
                Value {
                    ptr: record.tag as *mut c_void,
                },
            ),
            field(
                vtype::RD_KAFKA_VTYPE_KEY,
                Value {
                    mem: memory(record.key),
                },
            ),
            field(
                vtype::RD_KAFKA_VTYPE_VALUE,
                Value {
                    mem: memory(record.value),
                },
            ),
            field(vtype::RD_KAFKA_VTYPE_HEADERS, Value { headers: list }),
        ];
        let count = fields.len() - usize::from(headers.is_none());
        // SAFETY: the client is alive; each of the `count` fields is set in the member that its kind names. Key and value
        // are copied (`F_COPY`) and not written to.
        let error = unsafe { rd::rd_kafka_produceva(self.producer.client().native_ptr(), fields.as_ptr(), count) };
        if error.is_null() {
            // The record owns the headers now.
            std::mem::forget(headers);
            return Ok(());
        }
        // SAFETY: a valid error that is ours to destroy, once.
        let code = unsafe {
            let code = rd::rd_kafka_error_code(error);
            rd::rd_kafka_error_destroy(error);
            code
        };
        Err(code.into())
    }
}

impl<C: ProducerContext> Drop for TopicHandle<C> {
    fn drop(&mut self) {
        // SAFETY: our reference, given back once; the producer is dropped after this.
        unsafe { rd::rd_kafka_topic_destroy(self.topic) }
    }
}

type Value = rd::rd_kafka_vu_s__bindgen_ty_1;

fn field(vtype: rd::rd_kafka_vtype_t, u: Value) -> rd::rd_kafka_vu_t {
    rd::rd_kafka_vu_t { vtype, u }
}

fn memory(bytes: Option<&[u8]>) -> rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: bytes.map_or(ptr::null_mut(), |bytes| bytes.as_ptr().cast_mut().cast()),
        size: bytes.map_or(0, <[u8]>::len),
    }
}

/// Headers on their way to a record; destroyed unless a record took them.
struct HeaderList(*mut rd::rd_kafka_headers_t);

impl HeaderList {
    fn new(block: &[u8]) -> Option<Self> {
        if block.is_empty() {
            return None;
        }
        // SAFETY: makes a list, which is ours.
        let list = Self(unsafe { rd::rd_kafka_headers_new(8) });
        headers::visit(block, &mut |(name, value)| {
            let (start, len) = value.map_or((ptr::null(), -1), |value| (value.as_ptr(), value.len() as isize));
            // SAFETY: the list is ours and alive; name and value are copied. A name of no bytes is given with its length
            // 0, at a place that is not read.
            unsafe { rd::rd_kafka_header_add(list.0, name.as_ptr().cast(), name.len() as isize, start.cast(), len) };
        });
        Some(list)
    }
}

impl Drop for HeaderList {
    fn drop(&mut self) {
        // SAFETY: ours, and no record took it (then it is forgotten).
        unsafe { rd::rd_kafka_headers_destroy(self.0) }
    }
}

/// How long the client does without its linger after a push, in milliseconds: its thread has to wake up in this time.
const PUSH_MS: i32 = 2;

/// Makes the client send what it holds back for `linger.ms`. Comes back when every record is acknowledged and its report
/// dropped, or after [`PUSH_MS`]: not for a thread with other things to do.
pub(in crate::broker::kafka) fn push<C: ProducerContext>(producer: &BaseProducer<C>) {
    // SAFETY: the client is alive. A time-out is what is expected here; a lasting trouble comes with the reports.
    let _ = unsafe { rd::rd_kafka_flush(producer.client().native_ptr(), PUSH_MS) };
}

/// What became of a record.
pub(in crate::broker::kafka) struct Report {
    /// As it was given to [`Produce`].
    pub(in crate::broker::kafka) tag: usize,
    /// Where it lies now; negative when the broker did not say.
    pub(in crate::broker::kafka) offset: i64,
    /// The bytes of its key and value.
    pub(in crate::broker::kafka) len: usize,
    /// Why it was not written.
    pub(in crate::broker::kafka) error: Option<RDKafkaErrorCode>,
}

/// Where a producer's delivery reports arrive. Nobody else may poll it.
pub(in crate::broker::kafka) struct ReportQueue<C: ProducerContext + 'static> {
    queue: *mut rd::rd_kafka_queue_t,
    /// Holds no pointer that means anything between calls.
    slots: Box<[*const rd::rd_kafka_message_t; REPORTS]>,
    /// What librdkafka calls when a first report arrives: it holds a pointer to this until it is told otherwise.
    waker: Option<Box<Waker>>,
    /// Rule 1.
    _producer: Arc<BaseProducer<C>>,
}

// SAFETY: rule 3; the producer that is kept alive is `Send` itself; the slots are only read while a call fills them.
unsafe impl<C: ProducerContext> Send for ReportQueue<C> {}

impl<C: ProducerContext> ReportQueue<C> {
    /// The queue of a producer.
    pub(in crate::broker::kafka) fn new(producer: Arc<BaseProducer<C>>) -> Result<Self> {
        // SAFETY: the client is alive; the call returns a new reference on the queue, or null.
        let queue = unsafe { rd::rd_kafka_queue_get_main(producer.client().native_ptr()) };
        if queue.is_null() {
            return Err(Fault::fatal("the Kafka producer has no queue"));
        }
        Ok(Self {
            queue,
            slots: Box::new([ptr::null(); REPORTS]),
            waker: None,
            _producer: producer,
        })
    }

    /// Calls `waker`, from a thread of the client's, whenever something arrives in the empty queue.
    pub(in crate::broker::kafka) fn wake_by(&mut self, waker: Waker) {
        self.wake_nobody();
        let waker = self.waker.insert(Box::new(waker));
        let opaque: *const Waker = &**waker;
        // SAFETY: the queue lives (rule 1). The pointer stays valid until `wake_nobody`, which comes before the box goes.
        unsafe { rd::rd_kafka_queue_cb_event_enable(self.queue, Some(wake), opaque.cast_mut().cast()) };
    }

    fn wake_nobody(&mut self) {
        // SAFETY: as above. The call waits for a call back that is under way: both hold the queue's lock.
        unsafe { rd::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut()) };
        self.waker = None;
    }

    /// Shows the reports of one event to `each`: mostly those of one batch. Waits for it up to `timeout_ms`; false when
    /// none has come.
    pub(in crate::broker::kafka) fn take(&mut self, timeout_ms: i32, each: &mut dyn FnMut(Report)) -> bool {
        // SAFETY: the queue lives (rule 1); the call returns an event that is ours, or null.
        let event = Event(unsafe { rd::rd_kafka_queue_poll(self.queue, timeout_ms) });
        if event.0.is_null() {
            return false;
        }
        // SAFETY: the event is alive.
        match unsafe { rd::rd_kafka_event_type(event.0) } {
            rd::RD_KAFKA_EVENT_DR => self.each_of(&event, each),
            rd::RD_KAFKA_EVENT_LOG => event.log(),
            // Errors of connections are in the log too; those of records are in their reports.
            _ => (),
        }
        true
    }

    fn each_of(&mut self, event: &Event, each: &mut dyn FnMut(Report)) {
        loop {
            // SAFETY: the event is alive; the array has as many elements as is said.
            let got = unsafe { rd::rd_kafka_event_message_array(event.0, self.slots.as_mut_ptr(), REPORTS) };
            for message in &self.slots[..got.min(REPORTS)] {
                // SAFETY: librdkafka has put a valid message there, which belongs to the event and lives as long.
                let message = unsafe { &**message };
                let failed = message.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
                each(Report {
                    tag: message._private as usize,
                    offset: message.offset,
                    len: message.key_len + message.len,
                    error: failed.then(|| message.err.into()),
                });
            }
            if got < REPORTS {
                return;
            }
        }
    }
}

/// Must not touch the queue, whose lock is held.
extern "C" fn wake(_client: *mut rd::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: the pointer that `wake_by` gave, valid until `wake_nobody` comes back; a waker may be called by any thread.
    let waker = unsafe { &*opaque.cast_const().cast::<Waker>() };
    waker();
}

impl<C: ProducerContext> Drop for ReportQueue<C> {
    fn drop(&mut self) {
        self.wake_nobody();
        // SAFETY: our reference, given back once; the producer is dropped after this.
        unsafe { rd::rd_kafka_queue_destroy(self.queue) }
    }
}

/// Destroyed also when whoever looks at it panics. May be null.
struct Event(*mut rd::rd_kafka_event_t);

impl Event {
    /// Passes a line of librdkafka's log on to ours.
    fn log(&self) {
        let (mut facility, mut line, mut level): (*const c_char, *const c_char, i32) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is alive, the three places may be written to. On success both texts end with NUL and belong to
        // the event.
        let (facility, line) = unsafe {
            if rd::rd_kafka_event_log(self.0, &mut facility, &mut line, &mut level) != 0 {
                return;
            }
            (CStr::from_ptr(facility), CStr::from_ptr(line))
        };
        let (facility, line) = (facility.to_string_lossy(), line.to_string_lossy());
        // syslog's levels: 3 is an error, 4 a warning.
        match level {
            ..=4 => tracing::warn!("Kafka producer: {facility} {line}"),
            _ => tracing::debug!("Kafka producer: {facility} {line}"),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once; null is allowed.
        unsafe { rd::rd_kafka_event_destroy(self.0) }
    }
}
