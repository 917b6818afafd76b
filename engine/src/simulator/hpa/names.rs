//! Names and labels as the API server checks them, each fault in its words.

const LABEL: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const KEY_FORM: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const KEY_EXAMPLES: &str = "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is";

/// Faults of a label's key, which is a name with an optional prefix.
pub(super) fn label_key_faults(key: &str) -> Vec<String> {
    let mut parts = key.split('/');
    let (prefix, name) = match (parts.next(), parts.next(), parts.next()) {
        (Some(prefix), Some(name), None) => (Some(prefix), name),
        (name, None, _) => (None, name.unwrap_or_default()),
        _ => {
            return vec![format!(
                "a valid label key {KEY_FORM} {KEY_EXAMPLES} '{LABEL}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    let mut faults = Vec::new();
    match prefix {
        Some("") => faults.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => faults.extend(subdomain_faults(prefix).into_iter().map(|fault| format!("prefix part {fault}"))),
        None => {}
    }
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_label(name) {
        faults.push(format!("name part {KEY_FORM} {KEY_EXAMPLES} '{LABEL}')"));
    }
    faults
}

/// Faults of a label's value.
pub(super) fn label_value_faults(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > 63 {
        faults.push("must be no more than 63 bytes".to_owned());
    }
    if !value.is_empty() && !is_label(value) {
        faults.push(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '({LABEL})?')"
        ));
    }
    faults
}

/// Faults of a container's name.
pub(super) fn container_name_faults(name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.len() > 63 {
        faults.push("must be no more than 63 bytes".to_owned());
    }
    if !is_dns_label(name) {
        faults.push(if is_subdomain(name) {
            "must not contain dots".to_owned()
        } else {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')".to_owned()
        });
    }
    faults
}

/// Faults of a name that becomes a segment of a path.
pub(super) fn path_segment_faults(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|sign| name.contains(**sign)).map(|sign| format!("may not contain '{sign}'")).collect()
}

fn subdomain_faults(name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.len() > 253 {
        faults.push("must be no more than 253 bytes".to_owned());
    }
    if !is_subdomain(name) {
        faults.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN}')"
        ));
    }
    faults
}

fn is_label(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(text.chars().next())
        && ends(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_dns_label(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(is_plain) && text.ends_with(is_plain) && text.chars().all(|c| is_plain(c) || c == '-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_key_is_a_name_with_an_optional_domain() {
        for key in ["app", "example.com/app", "A_b.c-9", "x"] {
            assert_eq!(label_key_faults(key), [""; 0], "{key}");
        }
        for key in ["", "/app", "a/b/c", "-a", "a-", "Example.com/app", "a b"] {
            assert_ne!(label_key_faults(key), [""; 0], "{key}");
        }
        assert_eq!(label_key_faults(&"a".repeat(64)), ["name part must be no more than 63 bytes"]);
    }

    #[test]
    fn a_container_is_named_without_dots() {
        assert_eq!(container_name_faults("app-1"), [""; 0]);
        assert_eq!(container_name_faults("a.b"), ["must not contain dots"]);
        assert_eq!(container_name_faults("App").len(), 1);
    }

    #[test]
    fn a_path_segment_has_no_slash_and_no_percent() {
        assert_eq!(path_segment_faults("requests_per_second"), [""; 0]);
        assert_eq!(path_segment_faults("a/b%c"), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(path_segment_faults(".."), ["may not be '..'"]);
    }

    #[test]
    fn a_label_value_may_be_empty() {
        assert_eq!(label_value_faults(""), [""; 0]);
        assert_eq!(label_value_faults("-").len(), 1);
    }
}
