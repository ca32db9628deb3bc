//! The operators, one file each, named as users name them. Reading order is the way of a record.

pub(crate) mod source;
pub(crate) mod raw_source;
pub mod parse;
pub mod apply;
pub(crate) mod filter;
pub(crate) mod map;
pub(crate) mod flat_map;
pub(crate) mod select_key;
pub(crate) mod peek;
pub(crate) mod merge;
pub mod split;
pub(crate) mod repartition;
pub(crate) mod sink;
