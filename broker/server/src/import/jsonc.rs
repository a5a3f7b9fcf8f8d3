//! JSON with comments and trailing commas, as VS Code writes it.

/// The same text as plain JSON: comments and trailing commas become spaces, so that lines and columns of errors stay true.
pub(super) fn plain(text: &str) -> String {
    let mut out: Vec<char> = text.chars().collect();
    let mut at = 0;
    let mut last_comma: Option<usize> = None;
    while let Some(&c) = out.get(at) {
        match (c, out.get(at + 1)) {
            ('"', _) => {
                at = end_of_string(&out, at);
                last_comma = None;
                continue;
            }
            ('/', Some('/')) => {
                while out.get(at).is_some_and(|c| *c != '\n') {
                    blank(&mut out, at);
                    at += 1;
                }
                continue;
            }
            ('/', Some('*')) => {
                at = blank_block(&mut out, at);
                continue;
            }
            (',', _) => last_comma = Some(at),
            ('}' | ']', _) => {
                if let Some(comma) = last_comma.take() {
                    blank(&mut out, comma);
                }
            }
            (c, _) if c.is_whitespace() => {}
            _ => last_comma = None,
        }
        at += 1;
    }
    out.into_iter().collect()
}

fn end_of_string(text: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(c) = text.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn blank_block(text: &mut [char], start: usize) -> usize {
    let body = start + 2;
    let length = text[body..].windows(2).position(|pair| pair == ['*', '/']).map(|at| at + 2);
    let end = length.map_or(text.len(), |length| body + length);
    (start..end).for_each(|at| blank(text, at));
    end
}

fn blank(text: &mut [char], at: usize) {
    if let Some(c) = text.get_mut(at)
        && !matches!(c, '\n' | '\r')
    {
        *c = ' ';
    }
}
