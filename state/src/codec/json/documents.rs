//! Documents to try the reader on: generated, and damaged.

use proptest::prelude::*;

/// Whitespace, which most documents have none of.
fn blank() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \n\t\r]{1,3}", 1 => Just(" ".into())]
}

/// Numbers of every length, and some that are none.
pub(super) fn number() -> impl Strategy<Value = String> {
    const EDGES: &[&str] = &[
        "0",
        "-0",
        "-0.0",
        "0e0",
        "00",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "1.e1",
        "127",
        "128",
        "-128",
        "-129",
        "255",
        "256",
        "65536",
        "4294967296",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "9999999999999999999",
        "10000000000000000000",
        "18446744073709551615",
        "18446744073709551616",
        "19999999999999999999",
        "99999999999999999999",
        "184467440737095516150",
        "170141183460469231731687303715884105728",
        "1e308",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e309",
        "-1e400",
        "5e-324",
        "2e-324",
        "1e-400",
        "2.2250738585072011e-308",
        "0.1e2147483648",
        "0e2147483648",
        "3.4028235e38",
        "3.4028236e38",
        "16777217.0",
        "0.30000000000000004",
        "9007199254740993.0",
        "9007199254740992.5",
        "123456789012345678901234567890.5",
        "1.00000000000000011102230246251565",
    ];
    prop_oneof![
        3 => any::<i64>().prop_map(|n| n.to_string()),
        2 => (any::<i64>(), 0..64u32).prop_map(|(n, by)| (n >> by).to_string()),
        2 => any::<u64>().prop_map(|n| n.to_string()),
        1 => any::<i128>().prop_map(|n| n.to_string()),
        3 => (-1_000_000..1_000_000i64, 0..7u8).prop_map(|(n, d)| format!("{}", n as f64 / 10f64.powi(d.into()))),
        2 => any::<u64>().prop_map(f64::from_bits).prop_filter("JSON has no such number", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        2 => any::<u32>().prop_map(f32::from_bits).prop_filter("JSON has no such number", |f| f.is_finite()).prop_map(|f| format!("{f:?}")),
        3 => "-?(0|[1-9][0-9]{0,21})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?",
        3 => prop::sample::select(EDGES).prop_map(str::to_owned),
    ]
}

fn string() -> impl Strategy<Value = String> {
    let escape = r#"\\(["\\/bfnrt]|u[0-9a-fA-F]{4}|ud83d\\ude00|x|u12)"#;
    prop_oneof![
        4 => "[ !#-\\[\\]-~]{0,8}",
        1 => "[ !#-\\[\\]-~]{20,90}",
        1 => "[ !#-\\[\\]-~à-öΑ-Ω一-龥😀]{0,40}",
        1 => prop::sample::select(vec!["Unit", "New", "Pair", "Fields", "Event", "true", "x"]).prop_map(str::to_owned),
        1 => number(),
        1 => ("[a-z]{0,40}", escape, "[a-z]{0,40}").prop_map(|(a, escape, b)| a + &escape + &b),
        1 => "[\\x00-\\x7f]{0,6}",
    ]
    .prop_map(|text| format!("\"{text}\""))
}

fn name() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "id",
        "dateTime",
        "small",
        "f",
        "single",
        "huge",
        "name",
        "label",
        "initial",
        "flag",
        "nothing",
        "none",
        "new",
        "list",
        "by_name",
        "by_number",
        "by_flag",
        "next",
        "kind",
        "rest",
        "Unit",
        "New",
        "Pair",
        "Fields",
        "true",
        "7",
    ];
    prop_oneof![6 => prop::sample::select(NAMES).prop_map(|name| format!("\"{name}\"")), 1 => string()]
}

/// JSON, now and then with a fault of its own.
pub(super) fn document() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["null", "true", "false", "nul", "truefalse", ""]).prop_map(str::to_owned);
    let leaf = prop_oneof![4 => number(), 4 => string(), 2 => word];
    let nested = leaf.prop_recursive(4, 40, 6, |inner| {
        let element = (blank(), inner.clone(), blank()).prop_map(|(a, value, b)| a + &value + &b);
        let member = (blank(), name(), blank(), blank(), inner, blank());
        let member = member.prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}:{c}{value}{d}"));
        prop_oneof![
            prop::collection::vec(element, 0..5).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(member, 0..7).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    });
    (blank(), nested, blank()).prop_map(|(a, value, b)| a + &value + &b)
}

/// Up to three bytes are changed, added or taken out, and the end may be cut off.
pub(super) fn damaged(text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop::sample::select(br#"{}[]":,\ -+.eE019tfnu"#.to_vec()),
        1 => any::<u8>(),
    ];
    let change = (any::<prop::sample::Index>(), 0..3u8, byte);
    let cut = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (text, prop::collection::vec(change, 0..4), cut).prop_map(|(text, changes, cut)| {
        let mut bytes = text.into_bytes();
        for (place, what, byte) in changes {
            let at = place.index(bytes.len() + 1);
            match (what, at < bytes.len()) {
                (0, true) => bytes[at] = byte,
                (1, true) => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes
    })
}
