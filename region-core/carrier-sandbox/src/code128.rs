//! Code 128, code set B (ISO/IEC 15417): what a label's barcode is made of.

/// Widths of the bars and spaces of each symbol, in modules: a bar first, eleven modules in all.
const SYMBOLS: [[u8; 6]; 106] = widths(
    b"212222222122222221121223121322131222122213122312132212221213\
      221312231212112232122132122231113222123122123221223211221132\
      221231213212223112312131311222321122321221312212322112322211\
      212123212321232121111323131123131321112313132113132311211313\
      231113231311112133112331132131113123113321133121313121211331\
      231131213113213311213131311123311321331121312113312311332111\
      314111221411431111111224111422121124121421141122141221112214\
      112412122114122411142112142211241211221114413111241112134111\
      111242121142121241114212124112124211411212421112421211212141\
      214121412121111143111341131141114113114311411113411311113141\
      114131311141411131211412211214211232",
);
/// The last symbol: thirteen modules, a bar at both ends.
const STOP: [u8; 7] = [2, 3, 3, 1, 1, 1, 2];
/// The first symbol of code set B.
const START_B: usize = 104;
/// What the check symbol is counted modulo.
const CHECK: usize = 103;

const fn widths(digits: &[u8; 636]) -> [[u8; 6]; 106] {
    let mut all = [[0; 6]; 106];
    let mut at = 0;
    while at < 636 {
        all[at / 6][at % 6] = digits[at] - b'0';
        at += 1;
    }
    all
}

/// Widths of bars and spaces in turn, a bar first, in modules; `None` for a text with anything but printable ASCII.
#[must_use]
pub fn encode(text: &str) -> Option<Vec<u8>> {
    let values: Vec<usize> =
        text.bytes().map(|byte| (32..127).contains(&byte).then(|| usize::from(byte) - 32)).collect::<Option<_>>()?;
    let weighted = values.iter().zip(1..).map(|(value, place): (&usize, usize)| value * place);
    let check = (START_B + weighted.sum::<usize>()) % CHECK;
    let symbols = [START_B].into_iter().chain(values).chain([check]);
    Some(symbols.flat_map(|value| SYMBOLS[value]).chain(STOP).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_symbol_has_eleven_modules_an_even_number_of_them_dark_and_no_other_looks_like_it() {
        for symbol in SYMBOLS {
            assert_eq!(symbol.iter().sum::<u8>(), 11, "{symbol:?}");
            assert_eq!((symbol[0] + symbol[2] + symbol[4]) % 2, 0, "{symbol:?}");
        }
        assert_eq!(BTreeSet::from(SYMBOLS).len(), SYMBOLS.len());
    }

    #[test]
    fn what_cannot_be_written_is_not() {
        assert_eq!(encode("Käse"), None);
        assert_eq!(encode("a\n"), None);
    }
}
