//! Nulls in streams whose types allow them: which rows a grouping or a join cannot use.

use std::sync::Arc;

use millstream_state::codec::Codec;

use crate::{node::Ctx, policy::Reason, record::Batch};

/// Tells null values by their codec. Types that have no null cost nothing.
pub(crate) struct NullValues<T>(Option<Arc<dyn Codec<T>>>);

impl<T> Clone for NullValues<T> {
    fn clone(&self) -> Self {
        NullValues(self.0.clone())
    }
}

impl<T: 'static> NullValues<T> {
    pub fn of(codec: &Arc<dyn Codec<T>>) -> Self {
        // A codec that cannot read a null has no null to write.
        NullValues(codec.decode_null().is_ok().then(|| codec.clone()))
    }

    /// Drops and counts the rows whose value is null.
    pub fn drop_from<K>(&self, batch: &mut Batch<K, T>, reason: Reason, cx: &mut Ctx<'_>) {
        if let Some(codec) = &self.0 {
            let arrived = batch.rows.len();
            batch.rows.retain(|row| !codec.is_null(&row.value));
            cx.drop_rows(reason, (arrived - batch.rows.len()) as u64);
        }
    }

    /// Drops and counts the rows whose key is null, when this tells nulls of keys.
    pub fn drop_keys_from<V>(&self, batch: &mut Batch<T, V>, reason: Reason, cx: &mut Ctx<'_>) {
        if let Some(codec) = &self.0 {
            let arrived = batch.rows.len();
            batch.rows.retain(|row| !codec.is_null(&row.key));
            cx.drop_rows(reason, (arrived - batch.rows.len()) as u64);
        }
    }
}
