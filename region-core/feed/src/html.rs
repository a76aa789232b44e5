//! Markup to plain text: tags out, entities decoded, paragraphs divided by blank lines.

/// The text of a fragment of HTML. What it yields holds no markup, whatever was put in; show it as text, never as HTML.
pub(crate) fn plain_text(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push_str(&decoded(&rest[..at]));
        rest = &rest[at..];
        match tag(rest) {
            Some((name, after)) => {
                text.push_str(gap(&name));
                rest = if matches!(name.as_str(), "script" | "style") { past_end(after, &name) } else { after };
            }
            None => {
                text.push('<');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(&decoded(rest));
    paragraphs(&text)
}

/// The lower-case name of the tag that `text` starts with and what follows it; `None` where `<` is only a character.
fn tag(text: &str) -> Option<(String, &str)> {
    if let Some(comment) = text.strip_prefix("<!--") {
        return Some((String::new(), comment.find("-->").map_or("", |end| &comment[end + 3..])));
    }
    let inner = text[1..].strip_prefix('/').unwrap_or(&text[1..]);
    inner.starts_with(|first: char| first.is_ascii_alphabetic() || first == '!').then_some(())?;
    let name: String = inner.chars().take_while(char::is_ascii_alphanumeric).collect();
    let end = inner.find('>').map_or("", |end| &inner[end + 1..]);
    Some((name.to_ascii_lowercase(), end))
}

fn past_end<'a>(text: &'a str, name: &str) -> &'a str {
    let close = format!("</{name}");
    let at = text.to_ascii_lowercase().find(&close).unwrap_or(text.len());
    text[at..].find('>').map_or("", |end| &text[at + end + 1..])
}

/// What a tag stands for between the words around it.
fn gap(name: &str) -> &'static str {
    match name {
        "br" => "\n",
        "p" | "div" | "ul" | "ol" | "li" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "table" | "tr" => "\n\n",
        "td" | "th" => " ",
        _ => "",
    }
}

fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        match end.and_then(|end| Some((entity(&rest[1..end])?, end))) {
            Some((character, end)) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

fn entity(name: &str) -> Option<char> {
    let number = name.strip_prefix('#');
    if let Some(hex) = number.and_then(|number| number.strip_prefix(['x', 'X'])) {
        return u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
    }
    if let Some(number) = number {
        return number.parse().ok().and_then(char::from_u32);
    }
    let known = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("pound", '£'),
        ("euro", '€'),
        ("ndash", '\u{2013}'),
        ("mdash", '\u{2014}'),
        ("lsquo", '\u{2018}'),
        ("rsquo", '\u{2019}'),
        ("ldquo", '\u{201c}'),
        ("rdquo", '\u{201d}'),
        ("hellip", '\u{2026}'),
        ("eacute", 'é'),
        ("reg", '®'),
        ("trade", '™'),
        ("deg", '°'),
    ];
    known.iter().find(|(known, _)| *known == name).map(|(_, character)| *character)
}

/// Single spaces within a paragraph, one blank line between two, no control characters.
fn paragraphs(text: &str) -> String {
    let visible: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let mut out: Vec<String> = vec![String::new()];
    for line in visible.split('\n') {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match out.last_mut() {
            Some(last) if !line.is_empty() && last.is_empty() => *last = line,
            Some(last) if !line.is_empty() => *last = format!("{last}\n{line}"),
            Some(last) if !last.is_empty() => out.push(String::new()),
            _ => {}
        }
    }
    out.retain(|paragraph| !paragraph.is_empty());
    out.join("\n\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paragraphs_stay_apart_and_markup_goes() {
        let html =
            "<p class=\"x\">Stylish <b>copper</b>&nbsp;light</p>\r\n<ul><li>one &amp; two</li><li>3 < 4</li></ul>";
        assert_eq!(plain_text(html), "Stylish copper light\n\none & two\n\n3 < 4");
        assert_eq!(plain_text("a<br>b<script>alert('x')</script>c<!-- d -->"), "a\nbc");
        assert_eq!(plain_text("caf&#233; &bogus; &#xZZ; AT&T"), "café &bogus; &#xZZ; AT&T");
    }

    proptest! {
        #[test]
        fn text_without_markup_only_loses_spaces(text in "[a-zA-Z .,!?'é]{0,80}") {
            prop_assert_eq!(plain_text(&text), text.split_whitespace().collect::<Vec<_>>().join(" "));
        }

        #[test]
        fn any_input_is_survived(html in "\\PC{0,120}|[<>&;/!a-z# -]{0,80}") {
            let _ = plain_text(&html);
        }
    }
}
