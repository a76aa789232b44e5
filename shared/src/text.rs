//! Rules for text that people type.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Whether `text` holds what looks like a payment card number: a run of 13 to 19 digits (spaces and hyphens between
/// them allowed) with a known card prefix and a valid Luhn sum (ISO/IEC 7812-1 annex B).
///
/// Free text with one is refused, so that card numbers never reach our databases, logs or events.
#[must_use]
pub fn holds_card_number(text: &str) -> bool {
    let mut run: Vec<u8> = Vec::with_capacity(19);
    let mut gap = false;
    for character in text.chars().chain(std::iter::once('.')) {
        match character.to_digit(10) {
            #[expect(clippy::cast_possible_truncation, reason = "a decimal digit")]
            Some(digit) => {
                run.push(digit as u8);
                gap = false;
            }
            None if matches!(character, ' ' | '-') && !gap && !run.is_empty() => gap = true,
            None => {
                if any_card(&run) {
                    return true;
                }
                run.clear();
                gap = false;
            }
        }
    }
    false
}

/// Whether `text` is what looks like a payment card number and nothing else. For names that programs make up, such as keys and
/// references: among their digits [`holds_card_number`] would find one now and then where none is. 15 to 19 digits, for numbers
/// of goods (GTIN) have up to 14.
#[must_use]
pub fn is_card_number(text: &str) -> bool {
    let alone = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'));
    alone && text.bytes().filter(u8::is_ascii_digit).count() >= 15 && holds_card_number(text)
}

/// Whether any 13 to 19 neighbouring digits are a card number: it may hide in a longer run.
fn any_card(run: &[u8]) -> bool {
    // Only runs that could be one number by themselves; a longer run is an identifier of another kind.
    (13..=19).contains(&run.len()) && known_prefix(run) && luhn(run)
}

/// Prefixes of Visa, Mastercard, American Express, Discover, JCB, Diners Club, UnionPay and Maestro.
fn known_prefix(digits: &[u8]) -> bool {
    let number = |count: usize| digits.iter().take(count).fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
    digits[0] == 4
        || matches!(number(2), 34 | 37 | 36 | 38 | 39 | 50..=65 | 67)
        || matches!(number(3), 300..=305)
        || matches!(number(4), 2221..=2720 | 3528..=3589)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, u32::from(*digit)) {
            (1, digit) if digit > 4 => digit * 2 - 9,
            (1, digit) => digit * 2,
            (_, digit) => digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A lower-case name for a URL path: letters and digits of ASCII, hyphens between words, at most 80 characters. Letters lose
/// their marks (Unicode compatibility decomposition, UAX #15), and the Latin ones that have none are spelt as people do.
#[must_use]
pub fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars().flat_map(char::to_lowercase).nfkd() {
        if let Some(spelling) = spelling(character) {
            out.push_str(spelling);
        } else if is_combining_mark(character) {
            // It belongs to the letter before it.
        } else if character.is_ascii_alphanumeric() {
            out.push(character);
        } else if !out.is_empty() && !out.ends_with('-') && !matches!(character, '\'' | '\u{2019}') {
            out.push('-');
        }
    }
    out.truncate(80);
    out.trim_end_matches('-').to_owned()
}

/// Latin letters that are no letter with a mark.
fn spelling(character: char) -> Option<&'static str> {
    Some(match character {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'þ' => "th",
        'ł' => "l",
        'ı' => "i",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_is_seen_with_or_without_gaps() {
        for card in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "pay 5555-5555-5555-4444 now",
            "378282246310005",
            "2223003122003222",
        ] {
            assert!(holds_card_number(card), "{card} was missed");
        }
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for text in
            ["4242424242424241", "0123456789012", "+44 20 7946 0958", "order 536365", "", "12345678901234567890123"]
        {
            assert!(!holds_card_number(text), "{text} was refused");
        }
    }

    #[test]
    fn a_name_that_is_a_card_number_is_told_from_one_that_has_its_digits() {
        for card in ["4242424242424242", "4242 4242 4242 4242", "5555-5555-5555-4444", "378282246310005"] {
            assert!(is_card_number(card), "{card} was missed");
        }
        let names =
            ["order-4242424242424242", "4242424242424241", "4006381333931", "", "42424242-4242-4242-8424-242424242424"];
        for name in names {
            assert!(!is_card_number(name), "{name} was refused");
        }
    }

    #[test]
    fn a_slug_is_plain() {
        assert_eq!(slug("WHITE HANGING HEART T-LIGHT HOLDER"), "white-hanging-heart-t-light-holder");
        assert_eq!(slug("  Children's  café!! "), "childrens-cafe");
        assert_eq!(slug("Home Décor"), "home-decor");
        assert_eq!(slug("Smørrebrød à la Größe Łódź ½"), "smorrebrod-a-la-grosse-lodz-1-2");
        assert_eq!(slug("日本"), "");
    }
}
