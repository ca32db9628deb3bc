use proptest::prelude::*;

use super::*;

fn ms(n: i64) -> Duration {
    Duration::from_millis(n as u64)
}

fn any_windows() -> impl Strategy<Value = TimeWindows> {
    (1i64..40, 1i64..40, 0i64..60).prop_map(|(a, b, grace)| {
        TimeWindows::of_size(ms(a.max(b)))
            .advance_by(ms(a.min(b)))
            .grace(ms(grace))
    })
}

proptest! {
    /// The fast arithmetic against the definition: all aligned starts, kept when the window contains the timestamp.
    #[test]
    fn starts_are_the_windows_that_contain_the_timestamp(w in any_windows(), ts in 0i64..500) {
        let naive: Vec<i64> = (0..=ts).filter(|s| s % w.advance_ms() == 0 && w.window(*s).contains(ts)).collect();
        prop_assert_eq!(w.starts(ts).collect::<Vec<_>>(), naive);
    }

    #[test]
    fn first_open_is_the_first_window_that_ends_after_stream_time_less_grace(w in any_windows(), st in 0i64..500) {
        let naive = (0..).map(|i| i * w.advance_ms()).find(|s| s + w.size_ms() > st - w.grace_ms());
        prop_assert_eq!(Some(w.first_open(st)), naive);
        prop_assert!(w.closes_at(w.first_open(st)) > st);
    }

    #[test]
    fn no_window_border_cuts_a_slice(w in any_windows(), start in 0i64..50) {
        let window = w.window(start * w.advance_ms());
        prop_assert_eq!(window.start % w.slice_ms(), 0);
        prop_assert_eq!(window.end % w.slice_ms(), 0);
    }

    #[test]
    fn overlap_is_a_shared_millisecond(a in 0i64..20, al in 1i64..9, b in 0i64..20, bl in 1i64..9) {
        let (x, y) = (Window { start: a, end: a + al }, Window { start: b, end: b + bl });
        prop_assert_eq!(x.overlaps(&y), (0..40).any(|t| x.contains(t) && y.contains(t)));
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let bad = TimeWindows::of_size(ms(0)).advance_by(ms(0)).grace(Duration::MAX);
    assert_eq!(bad.problems().len(), 3);
    assert_eq!(TimeWindows::of_size(ms(5)).advance_by(ms(6)).problems().len(), 1);
    assert!(TimeWindows::of_size(ms(5)).problems().is_empty());
}

#[test]
fn before_any_record_all_windows_are_open() {
    assert_eq!(TimeWindows::of_size(ms(5)).first_open(i64::MIN), 0);
}
