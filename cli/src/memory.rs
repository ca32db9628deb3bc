//! How the C library's allocator keeps what was freed.
#![allow(
    unsafe_code,
    reason = "a call of the C library without which a process holds a third more memory"
)]

/// The settings: how many regions of memory there are to allocate from, and how much freed memory at the end of a region is
/// kept.
///
/// By default each thread gets a region of its own, up to eight for each core, and what is freed in one stays there; what is
/// kept at the end grows with the largest block ever freed. Our threads and RocksDB's hand memory to each other, so much of
/// it would lie idle: the demo's peak is 185-200 MB without this, 130-190 MB with two regions, 117-133 MB with both settings,
/// for the same processor time. (`mimalloc`: 260 MB.)
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SETTINGS: [(libc::c_int, libc::c_int, &str); 2] = [
    (libc::M_ARENA_MAX, 2, "MALLOC_ARENA_MAX"),
    (libc::M_TRIM_THRESHOLD, 8 << 20, "MALLOC_TRIM_THRESHOLD_"),
];

/// To be called before threads start.
pub fn keep_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (setting, value, variable) in SETTINGS {
        // An operator who has chosen is left alone.
        if std::env::var_os(variable).is_none() {
            // SAFETY: sets a number of the allocator's own; no pointer is involved. 0 says that it was not taken, which is
            // no reason to stop.
            unsafe { libc::mallopt(setting, value) };
        }
    }
}
