//! Sink: rows to bytes, with the headers of the records they come from, into the task's outbox.

use std::sync::Arc;

use crate::{
    codecs::RowCodec,
    error::Result,
    node::{Ctx, Node},
    outbox::{Outbox, TopicRef},
    record::{Batch, Data},
    wiring::{Edge, Inbox, Wiring},
};

/// Chooses the topic of every row of a batch: one virtual call per batch.
pub(crate) type TopicFn<K, V> = Arc<dyn Fn(&Batch<K, V>, &mut Outbox, &mut Vec<TopicRef>) + Send + Sync>;

pub(crate) fn topic_fn<K: Data, V: Data, S: AsRef<str>>(
    f: impl Fn(&K, &V) -> S + Send + Sync + 'static,
) -> TopicFn<K, V> {
    Arc::new(move |batch, outbox, topics| {
        for row in &batch.rows {
            topics.push(outbox.topic(f(&row.key, &row.value).as_ref()));
        }
    })
}

enum To<K, V> {
    Fixed(TopicRef),
    ByRecord {
        choose: TopicFn<K, V>,
        topics: Vec<TopicRef>,
    },
}

struct Sink<K, V> {
    input: Inbox<Batch<K, V>>,
    codec: Arc<dyn RowCodec<K, V>>,
    to: To<K, V>,
}

pub(crate) fn make<K: Data, V: Data>(
    w: &mut Wiring<'_>,
    input: Edge<Batch<K, V>>,
    codec: Arc<dyn RowCodec<K, V>>,
    topic: TopicRef,
) -> Result<impl Node + use<K, V>> {
    Ok(Sink {
        input: w.input(input),
        codec,
        to: To::Fixed(topic),
    })
}

pub(crate) fn make_by<K: Data, V: Data>(
    w: &mut Wiring<'_>,
    input: Edge<Batch<K, V>>,
    codec: Arc<dyn RowCodec<K, V>>,
    choose: TopicFn<K, V>,
) -> Result<impl Node + use<K, V>> {
    Ok(Sink {
        input: w.input(input),
        codec,
        to: To::ByRecord {
            choose,
            topics: Vec::new(),
        },
    })
}

impl<K: Data, V: Data> Node for Sink<K, V> {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(batch) = self.input.take() {
            match &mut self.to {
                To::Fixed(topic) => self.codec.encode(&batch, *topic, cx.outbox()),
                To::ByRecord { choose, topics } => {
                    topics.clear();
                    choose(&batch, cx.outbox(), topics);
                    self.codec.encode_each(&batch, topics, cx.outbox());
                }
            }
        }
        Ok(())
    }
}
