//! Countries as invoices name them, and what an address calls them.

/// Names as they stand in the "Online Retail" files, both years, with their ISO 3166-1 alpha-2 codes. The Channel
/// Islands have no code of their own: their largest island stands for them.
const COUNTRIES: [(&str, &str); 41] = [
    ("Australia", "AU"),
    ("Austria", "AT"),
    ("Bahrain", "BH"),
    ("Belgium", "BE"),
    ("Bermuda", "BM"),
    ("Brazil", "BR"),
    ("Canada", "CA"),
    ("Channel Islands", "JE"),
    ("Cyprus", "CY"),
    ("Czech Republic", "CZ"),
    ("Denmark", "DK"),
    ("EIRE", "IE"),
    ("Finland", "FI"),
    ("France", "FR"),
    ("Germany", "DE"),
    ("Greece", "GR"),
    ("Hong Kong", "HK"),
    ("Iceland", "IS"),
    ("Israel", "IL"),
    ("Italy", "IT"),
    ("Japan", "JP"),
    ("Korea", "KR"),
    ("Lebanon", "LB"),
    ("Lithuania", "LT"),
    ("Malta", "MT"),
    ("Morocco", "MA"),
    ("Netherlands", "NL"),
    ("Nigeria", "NG"),
    ("Norway", "NO"),
    ("Poland", "PL"),
    ("Portugal", "PT"),
    ("RSA", "ZA"),
    ("Saudi Arabia", "SA"),
    ("Singapore", "SG"),
    ("Spain", "ES"),
    ("Sweden", "SE"),
    ("Switzerland", "CH"),
    ("Thailand", "TH"),
    ("USA", "US"),
    ("United Arab Emirates", "AE"),
    ("United Kingdom", "GB"),
];

/// The code of a country that an invoice names; absent for "Unspecified", "European Community", "West Indies" and strangers.
pub(super) fn code(name: &str) -> Option<&'static str> {
    COUNTRIES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_one_that_an_address_may_have() {
        for (name, code) in COUNTRIES {
            assert!(shared::country::is_country(code), "{name}: {code}");
        }
    }

    #[test]
    fn the_shops_own_spellings_are_known_and_what_is_no_country_is_not_guessed() {
        let codes = ["EIRE", "RSA", "USA", "Channel Islands", "United Kingdom"].map(code);
        assert_eq!(codes, [Some("IE"), Some("ZA"), Some("US"), Some("JE"), Some("GB")]);
        assert_eq!(["Unspecified", "European Community", "West Indies", ""].map(code), [None; 4]);
    }
}
