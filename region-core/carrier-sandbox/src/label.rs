//! A label as it is printed: A6, addresses, the service, and the tracking code as a barcode of vectors.

use serde_json::Value;

use crate::book::{CARRIER, Parcel, SERVICES};
use crate::code128;
use crate::pdf::{Font, Page};

/// A6 in points: 105 by 148 millimetres.
pub const A6: (f64, f64) = (297.64, 419.53);
const MARGIN: f64 = 18.0;
/// Widest module of the barcode, in points: 0.42 millimetres.
const MODULE: f64 = 1.2;
/// What stays white on both sides of a barcode, in modules (ISO/IEC 15417 section 4.4).
const QUIET: f64 = 10.0;
const BARS: f64 = 84.0;
/// Characters of a line of an address that fit.
const LINE: usize = 40;

/// The label of a parcel, as a PDF, if it was bought.
#[must_use]
pub fn print(parcel: &Parcel) -> Option<Vec<u8>> {
    let (service, code) = parcel.bought.as_ref()?;
    let mut page = Page::new(A6.0, A6.1);
    page.text(Font::Bold, 20.0, MARGIN, 386.0, SERVICES[*service].0);
    page.text(Font::Plain, 10.0, MARGIN, 370.0, CARRIER);
    page.bar(MARGIN, 362.0, A6.0 - 2.0 * MARGIN, 1.0);
    let mut y = 348.0;
    page.text(Font::Bold, 7.0, MARGIN, y, "FROM");
    for line in lines(&parcel.consignment.from_address) {
        y -= 9.0;
        page.text(Font::Plain, 7.0, MARGIN, y, &line);
    }
    y -= 22.0;
    page.text(Font::Bold, 9.0, MARGIN, y, "TO");
    for line in lines(&parcel.consignment.to_address) {
        y -= 15.0;
        page.text(Font::Plain, 12.0, MARGIN, y, &line);
    }
    barcode(&mut page, code)?;
    Some(page.finish())
}

fn barcode(page: &mut Page, code: &str) -> Option<()> {
    let widths = code128::encode(code)?;
    let modules: f64 = widths.iter().copied().map(f64::from).sum();
    let module = MODULE.min((A6.0 - 2.0 * MARGIN) / (modules + 2.0 * QUIET));
    let mut x = (A6.0 - modules * module) / 2.0;
    for (width, place) in widths.into_iter().zip(0..) {
        let width = f64::from(width) * module;
        if place % 2 == 0 {
            page.bar(x, 48.0, width, BARS);
        }
        x += width;
    }
    page.text(Font::Plain, 12.0, MARGIN, 28.0, code);
    Some(())
}

/// At most six lines of an address.
fn lines(address: &Value) -> Vec<String> {
    let field = |name: &str| address[name].as_str().unwrap_or_default().trim();
    let town = format!("{} {}", field("zip"), field("city"));
    [field("name"), field("street1"), field("street2"), &town, field("state"), field("country")]
        .into_iter()
        .filter(|line| !line.is_empty())
        .map(|line| line.chars().take(LINE).collect())
        .collect()
}
