//! From a stock list's SHOUTED description to a name one would print on a shelf label.
//!
//! Only spelling changes: case, spacing, a few abbreviations of the trade. No fact is added. What already has lower case
//! is left as its author wrote it.

/// A name for people from a description such as `WHITE HANGING HEART T-LIGHT HOLDER`. Applying it again changes nothing.
#[must_use]
pub fn display_title(description: &str) -> String {
    let spaced = spaced(description);
    let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    let mut out: Vec<String> = Vec::with_capacity(words.len());
    for word in &words {
        out.push(shown(word, out.is_empty()));
    }
    out.join(" ")
}

/// One space after a comma and around a plus, none before a comma; no asterisk before it all, no comma, dot or dash at
/// either end. They go before any word is looked at: one that loses its comma must be cased as one that never had it.
fn spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars().filter(|character| !character.is_control() || character.is_whitespace()) {
        match character {
            ',' => {
                out.truncate(out.trim_end().len());
                out.push_str(", ");
            }
            '+' => out.push_str(" + "),
            _ => out.push(character),
        }
    }
    let begun = out.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '.' | ',' | '-'));
    begun.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '.' | ',' | '-')).to_owned()
}

/// Abbreviations of the trade, written out; keys as shouted, values as shown.
const WRITTEN_OUT: &[(&str, &str)] = &[
    ("ASS", "Assorted"),
    ("ASST", "Assorted"),
    ("ASSTD", "Assorted"),
    ("B'DRAW", "Bedside Drawer"),
    ("B'FLY", "Butterfly"),
    ("BUTTERFL", "Butterfly"),
    ("BUTTERFILES", "Butterflies"),
    ("CHILDRENS", "Children's"),
    ("CHILDS", "Child's"),
    ("CINAMMON", "Cinnamon"),
    ("COL", "Colour"),
    ("DADS", "Dad's"),
    ("ITS", "It's"),
    ("LETS", "Let's"),
    ("MULTICOL", "Multicolour"),
    ("NECKL", "Necklace"),
    ("NECKL.", "Necklace"),
    ("P'WEIGHT", "Paperweight"),
    ("RASPBERR", "Raspberry"),
    ("STRAWBRY", "Strawberry"),
    ("TURQ", "Turquoise"),
    ("UTILTY", "Utility"),
    ("W", "with"),
    ("W/CHIME", "with Chime"),
    ("W/SUCKER", "with Sucker"),
    ("OF4", "of 4"),
    ("SET3", "Set of 3"),
];

/// Stay as they are: initials and names that are spelt in capitals.
const CAPITALS: &[&str] =
    &["I", "TV", "LED", "USB", "UK", "DIY", "CD", "DVD", "M.O.P", "D.O.F", "MOP", "BBQ", "XL", "3D", "2D", "OK"];

const ROMAN: &[&str] = &["II", "III", "IV", "VI", "VII", "VIII", "IX", "XI", "XII"];

/// Lower-case within a title.
const SMALL: &[&str] = &[
    "A", "AN", "AND", "AS", "AT", "BY", "DE", "DES", "DU", "EN", "FOR", "FROM", "IN", "LA", "LE", "LES", "OF", "ON",
    "OR", "THE", "TO", "WITH",
];

const UNITS: &[&str] = &["CM", "MM", "M", "KG", "G", "ML", "L", "PC", "PCS"];

fn shown(word: &str, first: bool) -> String {
    let shouted = word.trim_end_matches(',');
    let tail = &word[shouted.len()..];
    if let Some((_, written)) = WRITTEN_OUT.iter().find(|(short, _)| *short == shouted) {
        let written = if first { capitalised(written) } else { (*written).to_owned() };
        return written + tail;
    }
    if let Some(count) = pack(shouted) {
        return format!("{}{tail}", if first { capitalised(&count) } else { count });
    }
    let small = SMALL.contains(&shouted) && tail.is_empty() && !first;
    if small { word.to_lowercase() } else { cased(word) }
}

/// `S/4`, `SET/4` and `PACK/12` as words.
fn pack(word: &str) -> Option<String> {
    let (kind, count) = word.split_once('/')?;
    let number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        "S" | "SET" if number => Some(format!("Set of {count}")),
        "PACK" | "pack" if number => Some(format!("Pack of {count}")),
        _ => None,
    }
}

/// Each run of letters cased by itself, so that `RED/WHITE` becomes `Red/White` and `"KEEP` keeps its quote.
fn cased(word: &str) -> String {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    if CAPITALS.contains(&bare) || ROMAN.contains(&bare) {
        return word.to_owned();
    }
    if let Some(rest) = word.strip_prefix("T-") {
        return format!("T-{}", rest.to_lowercase());
    }
    let mut out = String::with_capacity(word.len());
    let mut run = String::new();
    for character in word.chars().chain(std::iter::once(' ')) {
        // An apostrophe belongs to its word: POPPY'S is one.
        if character.is_alphabetic() || (character == '\'' && !run.is_empty()) {
            run.push(character);
            continue;
        }
        if !run.is_empty() {
            out.push_str(&run_cased(&run, out.ends_with(|c: char| c.is_ascii_digit())));
            run.clear();
        }
        out.push(character);
    }
    out.trim_end().to_owned()
}

fn run_cased(run: &str, after_digit: bool) -> String {
    let unit = |part: &str| part.is_empty() || UNITS.contains(&part);
    match run {
        _ if after_digit && run.to_uppercase().split('X').all(unit) => run.to_lowercase(),
        _ if (after_digit && run == "D") || CAPITALS.contains(&run) || !is_shouted(run) => run.to_owned(),
        _ => capitalised(&run.to_lowercase()),
    }
}

/// Mostly capitals: `TRADITIONAl` is, `Dr` and `g` are not.
fn is_shouted(run: &str) -> bool {
    let upper = run.chars().filter(|c| c.is_uppercase()).count();
    let lower = run.chars().filter(|c| c.is_lowercase()).count();
    upper > lower
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shouted_descriptions_become_shelf_labels() {
        for (shouted, label) in [
            ("WHITE HANGING HEART T-LIGHT HOLDER", "White Hanging Heart T-light Holder"),
            ("SET/6 GREEN SPRING PAPER CUPS", "Set of 6 Green Spring Paper Cups"),
            ("PACK OF 72  RETROSPOT CAKE CASES", "Pack of 72 Retrospot Cake Cases"),
            ("3D HEARTS  HONEYCOMB PAPER GARLAND", "3D Hearts Honeycomb Paper Garland"),
            ("METAL SIGN,CUPCAKE SINGLE HOOK", "Metal Sign, Cupcake Single Hook"),
            ("KEY FOB , GARAGE DESIGN", "Key Fob, Garage Design"),
            ("LETTER \"A\" BLING KEY RING", "Letter \"A\" Bling Key Ring"),
            ("CHARLIE+LOLA RED HOT WATER BOTTLE", "Charlie + Lola Red Hot Water Bottle"),
            ("SILVER BRACELET W PASTEL FLOWER", "Silver Bracelet with Pastel Flower"),
            ("POPPY'S PLAYHOUSE KITCHEN", "Poppy's Playhouse Kitchen"),
            ("WHITE GOOSE FEATHER TREE 60CM", "White Goose Feather Tree 60cm"),
            ("EMPIRE UNION JACK TV DINNER TRAY", "Empire Union Jack TV Dinner Tray"),
            ("ENGLISH ROSE NOTEBOOK A7 SIZE", "English Rose Notebook A7 Size"),
            ("SET 2 TEA TOWELS I LOVE LONDON", "Set 2 Tea Towels I Love London"),
            ("PINK/PURPLE RETRO RADIO", "Pink/Purple Retro Radio"),
            ("*USB Office Mirror Ball", "USB Office Mirror Ball"),
            ("Dr. Jam's Arouzer Stress Ball", "Dr. Jam's Arouzer Stress Ball"),
            ("3 TRADITIONAl BISCUIT CUTTERS  SET", "3 Traditional Biscuit Cutters Set"),
            ("POLYESTER FILLER PAD 65CMx65CM", "Polyester Filler Pad 65cmx65cm"),
            ("ESSENTIAL BALM 3.5g TIN IN ENVELOPE", "Essential Balm 3.5g Tin in Envelope"),
            ("DIAMANTE RING ASSORTED IN BOX.", "Diamante Ring Assorted in Box"),
            ("KINGS CHOICE BISCUIT TIN II", "Kings Choice Biscuit Tin II"),
        ] {
            assert_eq!(display_title(shouted), label);
        }
    }

    proptest! {
        #[test]
        fn a_label_stays_as_it_is(text in "[A-Z0-9a-z '\"/+,.*&-]{0,60}") {
            let once = display_title(&text);
            prop_assert_eq!(display_title(&once), once);
        }

        #[test]
        fn no_digit_is_lost(text in "[A-Z0-9 /+,.-]{0,60}") {
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            prop_assert_eq!(digits(&display_title(&text)), digits(&text));
        }
    }
}
