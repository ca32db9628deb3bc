//! The operators, one file each, named as users name them. Reading order is the way of a record.

pub mod apply;
pub(crate) mod filter;
pub(crate) mod flat_map;
pub(crate) mod map;
pub(crate) mod merge;
pub mod parse;
pub(crate) mod peek;
pub(crate) mod raw_source;
pub(crate) mod repartition;
pub(crate) mod select_key;
pub(crate) mod sink;
pub(crate) mod source;
pub mod split;

pub(crate) mod aggregate;
pub mod late;
pub(crate) mod nulls;
pub mod process;
pub mod stream_table_join;
pub(crate) mod table;
pub(crate) mod window_aggregate;
