//! What a label promises, read back from its bytes by a reader that shares nothing with the writer.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use region_core_carrier_sandbox::book::{Consignment, Parcel, Way};
use region_core_carrier_sandbox::label::print;
use serde_json::json;

/// The symbols of Code 128 as dark and light modules (ISO/IEC 15417 table 1), written down apart from the encoder's widths.
const SYMBOLS: &str = "
    11011001100 11001101100 11001100110 10010011000 10010001100 10001001100 10011001000 10011000100 10001100100 11001001000
    11001000100 11000100100 10110011100 10011011100 10011001110 10111001100 10011101100 10011100110 11001110010 11001011100
    11001001110 11011100100 11001110100 11101101110 11101001100 11100101100 11100100110 11101100100 11100110100 11100110010
    11011011000 11011000110 11000110110 10100011000 10001011000 10001000110 10110001000 10001101000 10001100010 11010001000
    11000101000 11000100010 10110111000 10110001110 10001101110 10111011000 10111000110 10001110110 11101110110 11010001110
    11000101110 11011101000 11011100010 11011101110 11101011000 11101000110 11100010110 11101101000 11101100010 11100011010
    11101111010 11001000010 11110001010 10100110000 10100001100 10010110000 10010000110 10000101100 10000100110 10110010000
    10110000100 10011010000 10011000010 10000110100 10000110010 11000010010 11001010000 11110111010 11000010100 10001111010
    10100111100 10010111100 10010011110 10111100100 10011110100 10011110010 11110100100 11110010100 11110010010 11011011110
    11011110110 11110110110 10101111000 10100011110 10001011110 10111101000 10111100010 11110101000 11110100010 10111011110
    10111101110 11101011110 11110101110 11010000100 11010010000 11010011100";
const STOP: &str = "1100011101011";

fn parcel(code: &str) -> Parcel {
    let from = json!({ "name": "Meridian", "street1": "1 Quay", "city": "Hull", "zip": "HU1 1AA", "country": "GB" });
    let to = json!({
        "name": "Zoë (c/o) O\\Hara", "street1": "12 St James's Square", "city": "London", "zip": "SW1Y 4JH", "country": "GB",
    });
    let consignment =
        Consignment { reference: None, to_address: to, from_address: from, parcel: json!({ "weight": 17.7 }) };
    let bought = Some((1, code.to_owned()));
    Parcel { id: "shp_1".to_owned(), consignment, bought, refunded: false, way: Way::PreTransit, since_ms: 0 }
}

/// Latin-1: every byte is a character of its own.
fn text_of(pdf: &[u8]) -> String {
    pdf.iter().copied().map(char::from).collect()
}

fn content(pdf: &str) -> &str {
    let start = pdf.find("stream\n").unwrap() + "stream\n".len();
    &pdf[start..pdf.find("\nendstream").unwrap()]
}

/// The strings that are shown, unescaped.
fn shown(content: &str) -> Vec<String> {
    let strings = content.lines().filter_map(|line| Some(line.strip_suffix(") Tj ET")?.split_once('(')?.1));
    let unescape = |text: &str| {
        let (mut plain, mut escaped) = (String::new(), false);
        for character in text.chars() {
            if character == '\\' && !escaped {
                escaped = true;
            } else {
                plain.push(character);
                escaped = false;
            }
        }
        plain
    };
    strings.map(unescape).collect()
}

/// The barcode's bars as modules: 1 is dark. Of the rectangles that are filled, those that are high.
fn modules(content: &str) -> String {
    let bars: Vec<Vec<f64>> = content
        .lines()
        .filter_map(|line| line.strip_suffix(" re f"))
        .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect())
        .filter(|bar: &Vec<f64>| bar[3] > 50.0)
        .collect();
    // The first bar of the first symbol has two modules.
    let module = bars[0][2] / 2.0;
    let count = |width: f64| {
        let count = (1..=8_u8).find(|count| (f64::from(*count) * module - width).abs() < module / 10.0);
        usize::from(count.unwrap())
    };
    let mut modules = String::new();
    for (place, bar) in bars.iter().enumerate() {
        modules.push_str(&"1".repeat(count(bar[2])));
        if let Some(next) = bars.get(place + 1) {
            modules.push_str(&"0".repeat(count(next[0] - bar[0] - bar[2])));
        }
    }
    let quiet = 10.0 * module;
    let last = bars.last().unwrap();
    assert!(bars[0][0] > quiet && last[0] + last[2] + quiet < 297.64, "no quiet zones");
    modules
}

/// The text in the modules, if its check symbol is right.
fn decode(modules: &str) -> String {
    let symbols: Vec<&str> = SYMBOLS.split_whitespace().collect();
    assert_eq!(symbols.len(), 106);
    let body = modules.strip_suffix(STOP).unwrap();
    assert_eq!(body.len() % 11, 0);
    let read = |at: usize| symbols.iter().position(|symbol| *symbol == &body[at..at + 11]).unwrap();
    let values: Vec<usize> = (0..body.len()).step_by(11).map(read).collect();
    let (check, values) = values.split_last().unwrap();
    assert_eq!(values[0], 104, "not code set B");
    let weighted: usize = values.iter().enumerate().map(|(place, value)| place.max(1) * value).sum();
    assert_eq!(*check, weighted % 103, "the check symbol");
    values[1..].iter().map(|value| char::from(u8::try_from(value + 32).unwrap())).collect()
}

#[test]
fn a_label_s_barcode_is_its_tracking_code() {
    for code in ["SB0123456789GB", "SB9876543210GB", "az~ !(0)"] {
        let pdf = text_of(&print(&parcel(code)).unwrap());
        assert_eq!(decode(&modules(content(&pdf))), code);
        assert!(shown(content(&pdf)).contains(&code.to_owned()), "a person cannot read it");
    }
}

#[test]
fn a_label_is_one_a6_page_that_names_who_sends_who_receives_and_the_service() {
    let pdf = text_of(&print(&parcel("SB0123456789GB")).unwrap());
    assert!(pdf.starts_with("%PDF-1.4\n") && pdf.ends_with("%%EOF\n") && pdf.contains("/Count 1"));
    // 105 by 148 millimetres.
    assert!(pdf.contains("/MediaBox [0 0 297.64 419.53]"));
    let shown = shown(content(&pdf));
    for said in ["Tracked", "Meridian", "HU1 1AA Hull", "Zoë (c/o) O\\Hara", "12 St James's Square", "SW1Y 4JH London"]
    {
        assert!(shown.contains(&said.to_owned()), "{said:?} is missing in {shown:?}");
    }
}

#[test]
fn a_label_is_a_file_whose_table_of_contents_is_right() {
    let pdf = text_of(&print(&parcel("SB0123456789GB")).unwrap());
    let pdf: Vec<char> = pdf.chars().collect();
    let from = |at: usize| pdf[at..].iter().collect::<String>();
    let whole = from(0);
    let start: usize = whole.rsplit("startxref\n").next().unwrap().lines().next().unwrap().parse().unwrap();
    let table = from(start);
    let mut lines = table.lines();
    assert_eq!((lines.next(), lines.next()), (Some("xref"), Some("0 7")));
    for (number, line) in lines.take(7).enumerate().skip(1) {
        let at: usize = line.split(' ').next().unwrap().parse().unwrap();
        assert!(from(at).starts_with(&format!("{number} 0 obj\n")), "object {number} is not at {at}");
    }
    let length: usize = whole.split("/Length ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(length, content(&whole).chars().count());
}

#[test]
fn what_was_not_bought_is_not_printed() {
    let unsold = Parcel { bought: None, ..parcel("x") };
    assert!(print(&unsold).is_none());
}
