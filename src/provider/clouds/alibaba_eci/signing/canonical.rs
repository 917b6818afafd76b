//! Parameters in the one spelling that is signed.

use std::{collections::BTreeMap, fmt::Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Request parameters, decoded, by name.
pub type Parameters = BTreeMap<String, String>;

/// All but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `text` with all but RFC 3986's unreserved characters escaped.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Parameters of a query or a form, where a space may be `+` or `%20`.
pub fn decode(query: &[u8]) -> Parameters {
    form_urlencoded::parse(query).into_owned().collect()
}

/// `enc(key)=enc(value)`, sorted by key, joined by `&`.
pub(super) fn canonical_query(parameters: &Parameters) -> String {
    let mut query = String::new();
    for (key, value) in parameters {
        let separator = if query.is_empty() { "" } else { "&" };
        // Writing into a String cannot fail.
        let _ = write!(query, "{separator}{}={}", encode(key), encode(value));
    }
    query
}
