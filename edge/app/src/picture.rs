//! Drawings for products without a picture: the same name always gives the same drawing, and different names different
//! ones.
//!
//! The words of the slug choose the thing that is drawn, its colours and its pattern; a hash of it decides the rest. So no
//! core needs to be asked, and the drawing can be kept for as long as anybody likes.

mod motif;

use std::fmt::Write;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, StatusCode};

use crate::cache_status::CACHE_STATUS;
use crate::route::is_slug;
use crate::spread;
use crate::stored::entity_tag;

/// Five colours that go together: two for the ground, one for the thing, one for its pattern, one for its details.
#[derive(Clone, Copy, Debug)]
struct Palette {
    ground: [&'static str; 2],
    main: &'static str,
    accent: &'static str,
    dark: &'static str,
}

const fn palette(
    a: &'static str,
    b: &'static str,
    main: &'static str,
    accent: &'static str,
    dark: &'static str,
) -> Palette {
    Palette { ground: [a, b], main, accent, dark }
}

/// Chosen by hash where no word names a colour.
const PALETTES: [Palette; 12] = [
    palette("#f6e7dc", "#ecd3c4", "#c96f53", "#f7efe6", "#5b3a31"),
    palette("#e3ece4", "#cfdfd2", "#5c8a6d", "#f3f1e2", "#2c463a"),
    palette("#e2eaf2", "#c9d8e8", "#56799f", "#f5efe4", "#2b3f57"),
    palette("#f3e4ea", "#e6cad7", "#b65c7f", "#fbeff1", "#562b3d"),
    palette("#f7edd3", "#efdcae", "#d09a35", "#fffaf0", "#5f4517"),
    palette("#e9e4f2", "#d5cce7", "#7c68a8", "#f5f1fa", "#3c3058"),
    palette("#dff0ee", "#c2e0dd", "#3d8f8a", "#f1faf6", "#1d4a48"),
    palette("#f1e9df", "#e0d1be", "#8f6f4f", "#f6eedc", "#463423"),
    palette("#fbe6da", "#f6cdb6", "#e0805a", "#fff3e6", "#6b3520"),
    palette("#e6eef7", "#d3e2f2", "#3f6fb5", "#ffd9a0", "#1f355a"),
    palette("#eef0dc", "#dde2bb", "#8a9a3e", "#fbfae8", "#414a1a"),
    palette("#f0e6e6", "#ddcaca", "#9a5353", "#efe3d2", "#472626"),
];

/// Chosen by a word of the name.
const COLOURS: [(&str, Palette); 18] = [
    ("red", palette("#fae3df", "#f2c8c1", "#c63c36", "#fff4ee", "#5e1916")),
    ("retrospot", palette("#fae3df", "#f2c8c1", "#c63c36", "#ffffff", "#5e1916")),
    ("pink", palette("#fce6ee", "#f6cddc", "#e07ba2", "#fff5f8", "#6e2c48")),
    ("blue", palette("#e0ebf8", "#c4d9f0", "#3f73b8", "#f6fafe", "#1c3658")),
    ("green", palette("#e2f0e2", "#c9e2ca", "#4d9157", "#f5faee", "#214428")),
    ("black", palette("#ebe9e6", "#d6d2cc", "#34343a", "#d9d4ca", "#17171a")),
    ("white", palette("#dfe7ee", "#c8d5e0", "#fdfcfa", "#d9dfe6", "#57646f")),
    ("cream", palette("#e9dfcf", "#d8c8af", "#fbf5e6", "#e2d2b2", "#6b5a3c")),
    ("ivory", palette("#e3ddd0", "#d1c7b4", "#fffbef", "#ded3bd", "#645a45")),
    ("silver", palette("#e4e8ec", "#ccd3da", "#a7b1bc", "#eef1f4", "#3f4852")),
    ("gold", palette("#f7ecd0", "#ecd8a2", "#c99a2e", "#fff7dd", "#5d4410")),
    ("purple", palette("#ece3f4", "#d8c7e8", "#7d4fa3", "#f7f0fb", "#3a2150")),
    ("yellow", palette("#fcf3cf", "#f7e49c", "#e6b422", "#fffbe8", "#66500b")),
    ("orange", palette("#fde8d4", "#f9cfa6", "#e58432", "#fff5ea", "#6a380d")),
    ("turquoise", palette("#d9f1f0", "#b7e3e1", "#2ba3a0", "#f0fbfa", "#0f4c4a")),
    ("chocolate", palette("#efe2d8", "#dcc5b3", "#6f4630", "#f0dcc8", "#38210f")),
    ("christmas", palette("#e4ede2", "#cbdcc8", "#2f7a4b", "#d6403a", "#173d26")),
    ("wood", palette("#f2e7d8", "#e2cfb3", "#b98a56", "#e9d3b0", "#55391a")),
];

/// Patterns on the thing: a tile of 24 by 24.
const TILES: [&str; 6] = [
    "",
    r#"<circle cx="6" cy="6" r="4" fill="$A"/><circle cx="18" cy="18" r="4" fill="$A"/>"#,
    r#"<path d="M0 0h10v24H0z" fill="$A"/>"#,
    r#"<path d="M0 0h12v12H0zM12 12h12v12H12z" fill="$A" opacity=".75"/>"#,
    r#"<path d="M-6 18 6 6l12 12L30 6" fill="none" stroke="$A" stroke-width="4"/>"#,
    r#"<path d="M12 17 6.5 11.500a3.4 3.4 0 0 1 5.5-4 3.4 3.4 0 0 1 5.5 4z" fill="$A"/>"#,
];

/// Words that ask for a pattern.
const WOVEN: [(&str, usize); 10] = [
    ("polkadot", 1),
    ("retrospot", 1),
    ("spotty", 1),
    ("spot", 1),
    ("stripe", 2),
    ("striped", 2),
    ("gingham", 3),
    ("check", 3),
    ("paisley", 4),
    ("sweetheart", 5),
];

/// What stands behind the thing.
const GROUNDS: [&str; 6] = [
    r#"<circle cx="200" cy="205" r="138" fill="$A" opacity=".55"/>"#,
    r#"<path d="M62 330V210a138 138 0 0 1 276 0v120z" fill="$A" opacity=".5"/>"#,
    r#"<path d="M0 300c70-26 120 20 200 0s130-20 200 4v96H0z" fill="$A" opacity=".6"/>"#,
    r#"<circle cx="120" cy="120" r="170" fill="$A" opacity=".4"/><circle cx="330" cy="320" r="90" fill="$A" opacity=".4"/>"#,
    r#"<path d="M0 296h400v104H0z" fill="$A" opacity=".65"/>"#,
    r#"<rect x="66" y="66" width="268" height="268" rx="60" fill="$A" opacity=".5"/>"#,
];

/// `GET /img/{slug}.svg`.
pub(crate) async fn serve(Path(file): Path<String>) -> Response {
    let Some(slug) = file.strip_suffix(".svg").filter(|slug| is_slug(slug)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let svg = draw(slug);
    let tag = entity_tag(svg.as_bytes());
    let mut headers = HeaderMap::new();
    let fixed = [
        (CONTENT_TYPE, "image/svg+xml"),
        (CACHE_CONTROL, "public, max-age=604800, stale-while-revalidate=2592000"),
        (ETAG, &tag),
        (CACHE_STATUS, "edge-app; hit; detail=drawn"),
    ];
    headers.extend(fixed.into_iter().filter_map(|(name, value)| Some((name, value.parse().ok()?))));
    (headers, svg).into_response()
}

/// A drawing of the product of that name, 400 by 400.
fn draw(slug: &str) -> String {
    let words: Vec<&str> = slug.split(['-', '_']).collect();
    let mut dice = Dice(spread::hash(slug));
    let colours = COLOURS.iter().find(|(word, _)| words.contains(word)).map(|(_, palette)| *palette);
    let colours = colours.unwrap_or_else(|| dice.pick(&PALETTES));
    let woven = WOVEN.iter().find(|(word, _)| words.contains(word)).map(|(_, at)| TILES[*at]);
    let tile = woven.unwrap_or_else(|| dice.pick(&TILES));
    let ground = dice.pick(&GROUNDS);
    let thing = motif::find(&words).unwrap_or_else(|| dice.pick(motif::ABSTRACT));
    let (turn, scale) = (i64::from(dice.roll(13)) - 6, 115 + dice.roll(20));
    let (angle, weave) = (dice.roll(90), 60 + 5 * dice.roll(8));
    let mut svg = String::with_capacity(2048);
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        concat!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" width="400" height="400">"##,
            r##"<defs><linearGradient id="g" gradientTransform="rotate({angle})"><stop stop-color="{a}"/><stop offset="1" stop-color="{b}"/></linearGradient>"##,
            r##"<pattern id="f" width="24" height="24" patternUnits="userSpaceOnUse" patternTransform="rotate({lean}) scale(.{weave})"><rect width="24" height="24" fill="$M"/>{tile}</pattern></defs>"##,
            r##"<rect width="400" height="400" fill="url(#g)"/>{ground}"##,
            r##"<ellipse cx="200" cy="336" rx="92" ry="12" fill="$D" opacity=".13"/>"##,
            r##"<g transform="translate(200 208) rotate({turn}) scale(1.{scale})">{thing}</g></svg>"##
        ),
        angle = angle,
        a = colours.ground[0],
        b = colours.ground[1],
        lean = if tile == TILES[2] { 0 } else { 12 },
        weave = weave,
        tile = tile,
        ground = ground,
        turn = turn,
        scale = scale - 100,
        thing = thing,
    );
    svg.replace("$F", "url(#f)").replace("$M", colours.main).replace("$A", colours.accent).replace("$D", colours.dark)
}

/// Repeatable choices from one hash (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(sides.max(1))).unwrap_or(0)
    }

    /// One of the choices; there is at least one.
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let sides = u32::try_from(choices.len()).unwrap_or(u32::MAX);
        choices[self.roll(sides) as usize % choices.len()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_name_always_gives_the_same_drawing() {
        assert_eq!(draw("red-retrospot-mug"), draw("red-retrospot-mug"));
    }

    #[test]
    fn similar_names_look_different() {
        let drawings: HashSet<String> = (0..200).map(|n| draw(&format!("vintage-tin-{n}"))).collect();
        assert!(drawings.len() > 190, "only {} drawings for 200 names", drawings.len());
    }

    #[test]
    fn every_drawing_is_whole_and_holds_nothing_that_runs() {
        let names =
            ["white-hanging-heart-t-light-holder", "x", "85123a", "jumbo-bag-pink-polkadot", "set-of-6-nothing"];
        for name in names.into_iter().chain(motif::words()) {
            let svg = draw(name);
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains('$'), "{name}: {svg}");
            assert!(!svg.contains("script") && !svg.contains("href"), "{name}");
            assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count(), "{name}");
        }
    }
}
