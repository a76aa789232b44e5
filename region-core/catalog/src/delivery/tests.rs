use proptest::prelude::*;

use super::*;

const FILE: &str = include_str!("../../../../infra/demo/delivery.toml");

fn pounds(minor: i64) -> Money {
    Money::new(minor, Currency::GBP).unwrap()
}

fn prices(table: &DeliveryTable, country: &str, goods: i64, grams: u64) -> Vec<(String, i64)> {
    let offers = table.offers(country, pounds(goods), grams).unwrap();
    offers.into_iter().map(|option| (option.id, option.price.minor())).collect()
}

#[test]
fn the_demo_table_asks_for_little_and_for_nothing_from_fifty_pounds_on() {
    let table = read_delivery(FILE).unwrap();
    let (standard, express) = ("standard".to_owned(), "express".to_owned());
    assert_eq!(prices(&table, "GB", 4_999, 0), [(standard.clone(), 395), (express.clone(), 895)]);
    assert_eq!(prices(&table, "GB", 5_000, 2_000), [(standard, 0), (express, 895)]);
    assert!(shared::country::NAMES.iter().all(|(code, _)| table.offers(code, pounds(100), 0).is_ok()));
    assert_eq!(table.offers("GB", pounds(100), 1_000_000), Err(NoDelivery::TooHeavy));
    let dollars = Money::new(100, Currency::USD).unwrap();
    assert!(matches!(table.offers("GB", dollars, 0), Err(NoDelivery::Money(_))));
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_line_and_field() {
    let said = |spoil: &[(&str, &str)]| {
        let text = spoil.iter().fold(FILE.to_owned(), |text, (was, is)| {
            assert!(text.contains(was), "{was}");
            text.replacen(was, is, 1)
        });
        let error = read_delivery(&text).unwrap_err();
        let line = text.lines().nth(error.line - 1).unwrap_or_default().trim().to_owned();
        (line, error.message)
    };
    let line = |spoil: &[(&str, &str)]| said(spoil).0;
    let (at, why) = said(&[("countries = [\"GB\"", "countries = [\"UK\"")]);
    assert!(at.starts_with("countries = [\"UK\""), "{at}");
    assert!(why.starts_with("zones[0].countries[0]: an upper-case ISO 3166-1"), "{why}");
    let (at, why) = said(&[("countries = [\"IE\"", "countries = [\"GB\"")]);
    assert!(at.starts_with("countries = [\"GB\"") && why.ends_with("stands in a zone already"), "{at} {why}");
    assert_eq!(line(&[("id = \"express\"", "id = \"standard\"")]), "id = \"standard\"");
    assert_eq!(line(&[("to = 4", "to = 1")]), "days = { from = 2, to = 1 }");
    assert!(line(&[("price_minor = 395", "price_minor = 39500")]).starts_with("{ up_to_grams = 10_000"));
    assert_eq!(line(&[("currency = \"GBP\"", "currency = \"pounds\"")]), "currency = \"pounds\"");
    let (at, why) = said(&[("free_from_minor = 5_000", "free_above = 5_000")]);
    assert!(at == "free_above = 5_000" && why.contains("unknown field `free_above`"), "{at} {why}");
    assert_eq!(read_delivery("currency = ").unwrap_err().line, 1);
}

#[test]
fn a_country_of_no_zone_is_not_delivered_to() {
    let mut zones = read_delivery(FILE).unwrap().zones().to_vec();
    zones.retain(|zone| zone.countries != ["*"]);
    let table = DeliveryTable::new(Currency::GBP, zones).unwrap();
    assert!(table.offers("FR", pounds(100), 0).is_ok());
    assert_eq!(table.offers("JP", pounds(100), 0), Err(NoDelivery::Country));
}

fn rates() -> impl Strategy<Value = Vec<Rate>> {
    let bands = prop::collection::vec((1_u64..5_000, 0_i64..1_000), 1..6);
    let rate = (bands, prop::option::of(0_i64..10_000)).prop_map(|(steps, free_from_minor)| {
        let mut bands: Vec<Band> = Vec::new();
        for (grams, minor) in steps {
            let last = bands.last().copied().unwrap_or(Band { up_to_grams: 0, price_minor: 0 });
            bands.push(Band { up_to_grams: last.up_to_grams + grams, price_minor: last.price_minor + minor });
        }
        let days = DeliveryDays { from: 1, to: 2 };
        Rate { id: String::new(), name: "By van".into(), days, service: None, free_from_minor, bands }
    });
    prop::collection::vec(rate, 1..=MAX_OPTIONS).prop_map(|mut rates| {
        for (number, rate) in rates.iter_mut().enumerate() {
            rate.id = format!("option-{number}");
        }
        rates
    })
}

fn one_zone(options: Vec<Rate>) -> DeliveryTable {
    let zone = Zone { name: "all".into(), countries: vec!["*".into()], options };
    DeliveryTable::new(Currency::GBP, vec![zone]).unwrap()
}

proptest! {
    #[test]
    fn more_weight_never_costs_less_and_never_brings_an_option_back(
        options in rates(), goods in 0_i64..12_000, light in 0_u64..20_000, more in 0_u64..20_000,
    ) {
        let table = one_zone(options);
        let light_ones = table.offers("GB", pounds(goods), light).unwrap_or_default();
        for heavy in table.offers("GB", pounds(goods), light + more).unwrap_or_default() {
            let same = light_ones.iter().find(|option| option.id == heavy.id);
            prop_assert!(same.is_some_and(|light| light.price.minor() <= heavy.price.minor()));
        }
    }

    #[test]
    fn what_is_free_from_a_value_on_is_free_above_it_whatever_it_weighs(
        options in rates(), goods in 0_i64..20_000, grams in 0_u64..20_000,
    ) {
        let table = one_zone(options.clone());
        for offer in table.offers("GB", pounds(goods), grams).unwrap_or_default() {
            let rate = options.iter().find(|rate| rate.id == offer.id).unwrap();
            prop_assert!(rate.free_from_minor.is_none_or(|from| goods < from) || offer.price.minor() == 0);
        }
    }

    #[test]
    fn every_country_has_at_most_one_zone(picks in prop::collection::vec(prop::sample::subsequence(vec!["GB", "FR", "DE", "*"], 1..4), 1..5)) {
        let rate = Rate {
            id: "a".into(), name: "A".into(), days: DeliveryDays { from: 0, to: 0 }, service: None, free_from_minor: None,
            bands: vec![Band { up_to_grams: 1, price_minor: 1 }],
        };
        let zones: Vec<_> = picks.iter().map(|countries| Zone {
            name: "zone".into(),
            countries: countries.iter().map(ToString::to_string).collect(),
            options: vec![rate.clone()],
        }).collect();
        let named: usize = picks.iter().map(Vec::len).sum();
        let distinct: std::collections::HashSet<_> = picks.iter().flatten().collect();
        prop_assert_eq!(DeliveryTable::new(Currency::GBP, zones).is_ok(), named == distinct.len());
    }
}
