//! What a resource URI means once its dot segments are resolved (RFC 3986, section 5.2.4).

/// How often a URI may be encoded on top of itself.
const MAX_ENCODINGS: usize = 4;

/// The URI without dot segments, `None` when it has none. Segments are also split at encoded and backward slashes, because some
/// server will read them so; the result is for matching only and never sent.
pub(crate) fn resolved(uri: &str) -> Option<String> {
    // Nearly every URI ends here.
    if !uri.contains("/.") && !uri.contains(['%', '\\']) {
        return None;
    }
    // Decoded to the end, since a server behind a server may decode again.
    let mut plain = uri.to_owned();
    for round in 0.. {
        let decoded = decode(&plain);
        if decoded == plain {
            break;
        }
        if round == MAX_ENCODINGS {
            // Nobody means that: only a pattern that allows everything matches it.
            return Some(String::new());
        }
        plain = decoded;
    }
    let (root, path) = match plain.split_once("://") {
        Some((scheme, rest)) => {
            let slash = rest.find('/').unwrap_or(rest.len());
            plain.split_at(scheme.len() + 3 + slash)
        }
        None => ("", &*plain),
    };
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if !path.split('/').any(is_dots) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for (index, segment) in path.split('/').enumerate() {
        match segment {
            "." => {}
            // The empty segment before the first slash stays.
            ".." if index > 0 && kept.len() > 1 => kept.truncate(kept.len() - 1),
            ".." => {}
            other => kept.push(other),
        }
    }
    Some(format!("{root}{}", kept.join("/")))
}

/// Decodes only what can make a dot segment, and the sign that hides it.
fn decode(uri: &str) -> String {
    let mut plain = uri.replace('\\', "/");
    for (code, sign) in
        [("%2e", "."), ("%2E", "."), ("%2f", "/"), ("%2F", "/"), ("%5c", "/"), ("%5C", "/"), ("%25", "%")]
    {
        plain = plain.replace(code, sign);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_resolved_however_they_are_spelt() {
        for (uri, expected) in [
            ("fs+file:///docs/a", None),
            ("fs+file:///docs/.hidden/a..b", None),
            ("fs+file:///docs/100%25", None),
            ("fs+file:///docs/../secret", Some("fs+file:///secret")),
            ("fs+file:///docs/./a", Some("fs+file:///docs/a")),
            ("fs+file:///docs/%2e%2E/secret", Some("fs+file:///secret")),
            ("fs+file:///docs%2f..%2fsecret", Some("fs+file:///secret")),
            ("fs+file:///docs/%252e%252e/secret", Some("fs+file:///secret")),
            ("fs+file:///docs\\..\\secret", Some("fs+file:///secret")),
            ("fs+file:///%25252525252525252e", Some("")),
            ("fs+file:///../../../x", Some("fs+file:///x")),
            ("web+https://host/a/b/../c", Some("web+https://host/a/c")),
        ] {
            assert_eq!(resolved(uri).as_deref(), expected, "{uri}");
        }
    }
}
