//! Reading the calls' bodies, and telling what is wrong with one.
//!
//! Filter and prioritize come with up to every node's name, once a scheduling cycle. In the form that Go writes, the
//! names are the body's end; they are then split without a JSON parser, which would take most of the answer's time.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::api::extender::{BindingArgs, ExtenderArgs, MetaVictims, PreemptionArgs, SlimPod, Text, Victims};

/// A body that is not the call's arguments. The text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Not a JSON object at all.
    #[error("the body is no JSON object: {0}")]
    NotAnObject(String),
    /// A field is absent or null.
    #[error("{field} is missing; {hint}")]
    Missing {
        /// The field.
        field: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A field is there but is not what it should be.
    #[error("{field}: {fault}")]
    Wrong {
        /// The field.
        field: &'static str,
        /// What is wrong.
        fault: String,
    },
}

/// Arguments of filter and prioritize.
#[derive(Debug, PartialEq, Eq)]
pub struct NodesArgs<'a> {
    /// The pod to place.
    pub pod: SlimPod,
    /// The nodes to judge.
    pub names: NodeNames<'a>,
}

/// Node names as they stand in JSON: `"a","b"`. All are plain: no byte that JSON escapes, nothing but ASCII.
///
/// Kept as bytes: names are compared and copied, thousands a call, and never read as text.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeNames<'a> {
    text: Cow<'a, [u8]>,
    /// Index of every name's closing quote.
    closes: Vec<usize>,
}

impl<'a> NodeNames<'a> {
    /// Splits names written without white space; `None` where anything is unusual.
    fn split(text: Cow<'a, [u8]>) -> Option<Self> {
        let bytes = text.as_ref();
        if bytes.is_empty() {
            return Some(Self { text, closes: Vec::new() });
        }
        let is_odd = |byte: &u8| u8::from(byte.wrapping_sub(b' ') > b'~' - b' ') | u8::from(*byte == b'\\');
        // Not `any`: without an early exit the loop takes many bytes at a time.
        if bytes.iter().fold(0, |odd, byte| odd | is_odd(byte)) != 0 {
            return None;
        }
        let closes = closing_quotes(bytes, true).or_else(|| closing_quotes(bytes, false))?;
        Some(Self { text, closes })
    }

    fn of(names: &[Text<'_>]) -> Result<NodeNames<'static>, ArgsError> {
        let quoted: Vec<_> = names.iter().map(|name| format!("\"{}\"", name.0)).collect();
        let split = NodeNames::split(Cow::Owned(quoted.join(",").into_bytes()));
        // A name with quotes and commas of its own would read as two.
        split.filter(|split| split.len() == names.len()).ok_or_else(no_node_name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.closes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.closes.is_empty()
    }

    /// Each name.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.quoted_each().map(|quoted| &quoted[1..quoted.len() - 1])
    }

    /// Each name in its quotes.
    pub fn quoted_each(&self) -> impl Iterator<Item = &[u8]> {
        let mut open = 0;
        self.closes.iter().map(move |&close| {
            let quoted = &self.text[open..=close];
            open = close + 2;
            quoted
        })
    }

    /// Names `from..to` with their quotes and the commas between them: a part of a JSON array.
    pub fn quoted(&self, from: usize, to: usize) -> &[u8] {
        if from == to { b"" } else { &self.text[self.open(from)..=self.closes[to - 1]] }
    }

    /// Size of the JSON text.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    fn open(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.closes[index - 1] + 2 }
    }
}

/// Index of the closing quote of every name in `"a","b"`; `None` where that is not the form.
///
/// With `guessing`, a name's end is looked for where the last one's length puts it, for names of one cluster are mostly
/// of one length. A guess may run over several short names; then the counts do not agree, and the answer is `None`.
fn closing_quotes(bytes: &[u8], guessing: bool) -> Option<Vec<usize>> {
    let mut closes = Vec::with_capacity(bytes.len() / 16);
    let (mut open, mut length) = (0, 0);
    let ends = |close: usize| bytes.get(close) == Some(&b'"') && bytes.get(close + 1).is_none_or(|&next| next == b',');
    while open < bytes.len() {
        let close = if guessing && length > 0 && ends(open + length) {
            open + length
        } else {
            let inside = open + 1;
            inside + memchr::memchr(b'"', bytes.get(inside..)?).filter(|found| ends(inside + found))?
        };
        if bytes[open] != b'"' {
            return None;
        }
        closes.push(close);
        length = close - open;
        open = close + 2;
    }
    // So no name holds a quote or a comma, and no comma stands at the end.
    let is_whole = memchr::memchr_iter(b'"', bytes).count() == 2 * closes.len()
        && memchr::memchr_iter(b',', bytes).count() + 1 == closes.len();
    is_whole.then_some(closes)
}

impl<'a> NodesArgs<'a> {
    /// Reads the body of filter or prioritize.
    pub fn parse(body: &'a [u8]) -> Result<Self, ArgsError> {
        if let Some(args) = Self::parse_as_go_writes(body) {
            return Ok(args);
        }
        let args: ExtenderArgs<'_> = parse(body, &NODES_FIELDS)?;
        let names = args.node_names.ok_or(NODE_NAMES_MISSING)?;
        Ok(Self { pod: args.pod, names: NodeNames::of(&names)? })
    }

    /// Reads a body that ends with the names, or gives up.
    ///
    /// The rest is parsed with an empty array in the names' place. That parse succeeds only where the cut-out text is
    /// the top-level array: within a string its quotes, within a deeper value its brackets would not close.
    fn parse_as_go_writes(body: &'a [u8]) -> Option<Self> {
        const LEAD: &[u8] = b"\"NodeNames\":[";
        let names_end = body.trim_ascii_end().strip_suffix(b"]}")?;
        let names_start = memchr::memrchr(b'[', names_end)? + 1;
        let rest = &body[..names_start];
        if !rest.ends_with(LEAD) {
            return None;
        }
        let rest = [rest, b"]}"].concat();
        let args: ExtenderArgs<'_> = serde_json::from_slice(&rest).ok()?;
        Some(Self { pod: args.pod, names: NodeNames::split(Cow::Borrowed(&names_end[names_start..]))? })
    }
}

/// Reads the body of preempt.
pub fn parse_preemption(body: &[u8]) -> Result<PreemptionArgs, ArgsError> {
    parse(body, &PREEMPTION_FIELDS)
}

/// Reads the body of bind.
pub fn parse_binding(body: &[u8]) -> Result<BindingArgs, ArgsError> {
    parse(body, &BINDING_FIELDS)
}

/// One field of a body, for telling what is wrong.
struct Field {
    name: &'static str,
    /// What its absence means; `None` where it may be absent.
    missing: Option<&'static str>,
    check: fn(&str) -> Result<(), serde_json::Error>,
}

const NO_CACHE: &str = "the extender takes names only: set nodeCacheCapable: true in the scheduler's configuration";
const NOT_SENT: &str = "kube-scheduler always sends it";
const NODE_NAMES_MISSING: ArgsError = ArgsError::Missing { field: "NodeNames", hint: NO_CACHE };

const POD: Field = Field { name: "Pod", missing: Some(NOT_SENT), check: fits::<SlimPod> };
const NODES_FIELDS: [Field; 2] =
    [POD, Field { name: "NodeNames", missing: Some(NO_CACHE), check: fits::<Vec<String>> }];
const PREEMPTION_FIELDS: [Field; 3] = [
    POD,
    Field { name: "NodeNameToVictims", missing: None, check: fits::<BTreeMap<String, Victims>> },
    Field { name: "NodeNameToMetaVictims", missing: None, check: fits::<BTreeMap<String, MetaVictims>> },
];
const BINDING_FIELDS: [Field; 4] =
    [text_field("PodName"), text_field("PodNamespace"), text_field("PodUID"), text_field("Node")];

const fn text_field(name: &'static str) -> Field {
    Field { name, missing: Some(NOT_SENT), check: fits::<String> }
}

fn fits<T: DeserializeOwned>(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<T>(text).map(drop)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], fields: &[Field]) -> Result<T, ArgsError> {
    serde_json::from_slice(body).map_err(|fault| explain(body, fields, &fault))
}

/// Finds the field at fault, slowly: serde names the place in the text, which nobody has at hand.
fn explain(body: &[u8], fields: &[Field], fault: &serde_json::Error) -> ArgsError {
    let whole: BTreeMap<Text<'_>, &RawValue> = match serde_json::from_slice(body) {
        Ok(whole) => whole,
        Err(fault) => return ArgsError::NotAnObject(shortened(&fault)),
    };
    let get = |name: &str| whole.get(&Text(Cow::Borrowed(name))).map(|raw| raw.get()).filter(|raw| *raw != "null");
    for field in fields {
        match (get(field.name), field.missing) {
            (None, Some(hint)) => return ArgsError::Missing { field: field.name, hint },
            (None, None) => {}
            (Some(raw), _) => {
                if let Err(fault) = (field.check)(raw) {
                    return ArgsError::Wrong { field: field.name, fault: shortened(&fault) };
                }
            }
        }
    }
    // Every field fits by itself, so one is there twice.
    ArgsError::NotAnObject(shortened(fault))
}

/// A parser's words, which may quote the body, cut to a line's length.
fn shortened(fault: &serde_json::Error) -> String {
    fault.to_string().chars().take(200).collect()
}

fn no_node_name() -> ArgsError {
    ArgsError::Wrong { field: "NodeNames", fault: "holds a text that is no node's name".to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: &str = r#"{"metadata":{"uid":"u"},"spec":{"x":["\"NodeNames\":[\"b\"]}"]}}"#;

    fn text(name: &[u8]) -> String {
        String::from_utf8(name.to_vec()).unwrap()
    }

    fn names_of(body: &str) -> Result<Vec<String>, String> {
        let args = NodesArgs::parse(body.as_bytes()).map_err(|fault| fault.to_string())?;
        assert_eq!(args.pod.metadata.uid, "u");
        Ok(args.names.iter().map(text).collect())
    }

    #[test]
    fn names_are_read_in_the_form_of_go_and_in_any_other() {
        for body in [
            format!(r#"{{"Pod":{POD},"Nodes":null,"NodeNames":["a-1","b"]}}"#),
            format!("{{\"Pod\":{POD},\"Nodes\":null,\"NodeNames\":[\"a-1\",\"b\"]}}\n"),
            format!(r#"{{"NodeNames": ["a-1", "b"], "Pod": {POD}}}"#),
            format!(r#"{{"Pod":{POD},"NodeNames":["a\u002d1","b"]}}"#),
        ] {
            assert_eq!(names_of(&body).unwrap(), ["a-1", "b"], "{body}");
        }
        assert_eq!(names_of(&format!(r#"{{"Pod":{POD},"NodeNames":[]}}"#)).unwrap(), [""; 0]);
    }

    #[test]
    fn parts_of_the_names_are_parts_of_a_json_array() {
        let names = NodeNames::split(Cow::Borrowed(br#""a","bc","d""#)).unwrap();
        let parts = [names.quoted(0, 3), names.quoted(1, 2), names.quoted(2, 2)];
        assert_eq!(parts.map(text), [r#""a","bc","d""#, r#""bc""#, ""]);
        assert_eq!(names.quoted_each().map(text).collect::<Vec<_>>(), [r#""a""#, r#""bc""#, r#""d""#]);
    }

    #[test]
    fn what_is_not_plain_names_is_not_split() {
        for odd in [
            ",",
            "\"",
            "\"a",
            "\"a\",",
            ",\"a\"",
            "\"a\", \"b\"",
            "\"a\"\"b\"",
            "\"a\\\"\"",
            "\"a\n\"",
            "a",
            "\"ä\"",
            "\",\"",
        ] {
            assert_eq!(NodeNames::split(Cow::Borrowed(odd.as_bytes())), None, "{odd}");
        }
    }

    #[test]
    fn names_of_unlike_lengths_are_told_apart() {
        for names in [vec!["eci-1", "a", "a"], vec!["abcd", "a", "b"], vec!["a", "bc", "def"], vec!["", "a", ""]] {
            let text = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
            let split = NodeNames::split(Cow::Owned(text.into_bytes())).unwrap();
            assert_eq!(split.iter().collect::<Vec<_>>(), names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_fault_names_its_field() {
        for (body, reason) in [
            ("", "the body is no JSON object"),
            ("[1]", "the body is no JSON object"),
            (r#"{"NodeNames":["a"]}"#, "Pod is missing"),
            (r#"{"Pod":null,"NodeNames":["a"]}"#, "Pod is missing"),
            (r#"{"Pod":7,"NodeNames":["a"]}"#, "Pod: invalid type: integer `7`"),
            (r#"{"Pod":{},"NodeNames":["a"]}"#, "Pod: missing field `metadata`"),
            (
                r#"{"Pod":{"metadata":{"uid":"u"}},"Nodes":{"items":[]}}"#,
                "NodeNames is missing; the extender takes names only",
            ),
            (r#"{"Pod":{"metadata":{"uid":"u"}},"NodeNames":null}"#, "set nodeCacheCapable: true"),
            (r#"{"Pod":{"metadata":{"uid":"u"}},"NodeNames":["a",1]}"#, "NodeNames: invalid type: integer `1`"),
            (
                r#"{"Pod":{"metadata":{"uid":"u"}},"NodeNames":["a\"b"]}"#,
                "NodeNames: holds a text that is no node's name",
            ),
            (
                r#"{"Pod":{"metadata":{"uid":"u"}},"NodeNames":["a\",\"b"]}"#,
                "NodeNames: holds a text that is no node's name",
            ),
            (r#"{"Pod":{"metadata":{"uid":"u"}},"NodeNames":["ä"]}"#, "NodeNames: holds a text that is no node's name"),
            (r#"{"Pod":{"metadata":{"uid":"u"}},"NodeNames":[],"NodeNames":["a"]}"#, "duplicate field `NodeNames`"),
        ] {
            let fault = names_of(body).unwrap_err();
            assert!(fault.contains(reason), "{body}: {fault}");
        }
        let fault = parse_preemption(br#"{"Pod":{"metadata":{}},"NodeNameToMetaVictims":[]}"#).unwrap_err().to_string();
        assert!(fault.starts_with("NodeNameToMetaVictims: invalid type: sequence"), "{fault}");
        let fault = parse_binding(br#"{"PodName":"p","PodNamespace":"n","Node":"a"}"#).unwrap_err().to_string();
        assert!(fault.starts_with("PodUID is missing"), "{fault}");
    }

    /// A body with something of it cut out, put in or turned over.
    fn mutated() -> impl Strategy<Value = Vec<u8>> {
        let valid = format!(r#"{{"Pod":{POD},"Nodes":null,"NodeNames":["a-1","b","virtual-1"]}}"#).into_bytes();
        let piece = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..3),
            proptest::sample::select(vec!["\"", "\\", "[", "]", "{", "}", ",", "null", " ", "\"NodeNames\":["])
                .prop_map(|text| text.as_bytes().to_vec()),
        ];
        (any::<proptest::sample::Index>(), 0..4_usize, piece).prop_map(move |(at, gone, piece)| {
            let mut body = valid.clone();
            let from = at.index(body.len());
            let to = (from + gone).min(body.len());
            body.splice(from..to, piece);
            body
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_short_way_and_the_long_way_read_the_same(body in mutated()) {
            let long_way = serde_json::from_slice::<ExtenderArgs<'_>>(&body);
            if let Some(args) = NodesArgs::parse_as_go_writes(&body) {
                let long_way = long_way.unwrap();
                prop_assert_eq!(args.pod, long_way.pod);
                let names: Vec<_> = long_way.node_names.unwrap().into_iter().map(|name| name.0.into_owned()).collect();
                prop_assert_eq!(args.names.iter().map(text).collect::<Vec<_>>(), names);
            } else {
                // Gives up or fails, but never panics.
                let _ = NodesArgs::parse(&body);
            }
        }

        #[test]
        fn random_bytes_are_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(NodesArgs::parse(&body).is_err());
            prop_assert!(parse_preemption(&body).is_err());
            prop_assert!(parse_binding(&body).is_err());
        }
    }
}
