//! Where a product is filed when its file names no category: keyword rules on its name, first match wins.
//!
//! Deliberately simple and readable: a merchant's own `Type` column is better than any guess and is used where there is
//! one.

use std::sync::LazyLock;

const CHRISTMAS: &str = "Christmas";
const JEWELLERY: &str = "Jewellery & Accessories";
const CANDLES: &str = "Candles & Lights";
const STATIONERY: &str = "Stationery & Cards";
const PARTY: &str = "Party & Celebration";
const BAGS: &str = "Bags & Purses";
const TOYS: &str = "Toys, Games & Crafts";
const KITCHEN: &str = "Kitchen & Baking";
const TABLEWARE: &str = "Tableware & Mugs";
const GARDEN: &str = "Garden";
const BATH: &str = "Bath & Comfort";
const TEXTILES: &str = "Cushions & Textiles";
const STORAGE: &str = "Storage & Hooks";
const FRAMES: &str = "Clocks, Frames & Mirrors";
const DECOR: &str = "Home Décor";
const REST: &str = "Gifts & Curiosities";

/// A category and the words or phrases that lead there, most telling rules first. A plural counts as its singular.
const RULES: &[(&str, &str)] = &[
    (
        CHRISTMAS,
        "christmas, xmas, santa, snowman, snowmen, advent, reindeer, bauble, nativity, tinsel, snowflake, \
         pannetone, noel, icicle, snow, gingerbread man",
    ),
    // Phrases that hold words which alone would mislead.
    (TEXTILES, "doormat, doorstop, cushion, door stop"),
    (DECOR, "metal sign, door sign, garden sign, toilet sign, doorsign, stopmetal sign, number tile, wall plaque"),
    (STORAGE, "hook, coat rack, hanger, drawer knob, drawerknob, key cabinet, peg bag, button box"),
    (PARTY, "paper chain, party bag"),
    (BAGS, "jumbo bag, lunch bag, purse, handbag, vippassport cover, rain mac"),
    (GARDEN, "garden glove, potting shed"),
    (
        KITCHEN,
        "cake case, cake stand, cakestand, cake tin, egg cosy, tea cosy, bread bin, lunch box, snack box, \
         food cover, food container, oven glove, oven mitt, tea towel, biscuit tin, tea caddy, glass jar, jam \
         jar set, sugar jar, toastrack, squeezer, cooking, chopstick, jam making, fridge magnet, kitchen, \
         baking, cookie, recipe, apron, milk bottle, food storage, jelly mould, baking mould",
    ),
    (
        STATIONERY,
        "gift bag, gift wrap, gift tape, gift tag, memo board, chalkboard, photo album, passport cover, \
         memoboard, pen case, pencil case, calculator, letter rack",
    ),
    (
        TOYS,
        "soft toy, toy, doll, jigsaw, puzzle, game, domino, skittle, spinning top, marble, puppet, playhouse, \
         tattoo, drawing slate, crayon, stencil, alphabet block, bingo, snap card, helicopter, skipping rope, \
         modelling clay, water bomb, knitting kit, feltcraft, kit, craft, creepy crawlie, creepy crawly, \
         knitting nancy, building block, piggy bank, money box, money bank, height chart, baby bib, rocking \
         horse, sewing box, sewing kit, pin cushion, patch, trampoline, bouncy ball, racing, eight piece, \
         glow in, tool set, teddy, robot, dinosaur keyring, yo yo, whistle, kite, rounder, croquet, boule, \
         noughts, ludo, paint your own, paint set, chalk stick, glider, car, magic tree, magic garden, grow \
         a, snake set, bank, dragonfly, catch, stress ball, punch ball, harmonica, space cadet, disco ball",
    ),
    (
        CANDLES,
        "t light, tlight, tealight, candle, lantern, incense, lamp, lampshade, nightlight, night light, \
         candlestick, candlestand, candleholder, candlepot, chocolatecandle, votive, candelabra, oil burner, \
         light chain, light, torch, match, lightbulb, chandelier, fragrance, scented, nest of, joss, \
         essential oil",
    ),
    (
        BAGS,
        "key ring, keyring, key fob, luggage, handbag, purse, wallet, umbrella, rain hat, backpack, tote, \
         shopper, shoulder bag, jumbo bag, lunch bag, charlotte bag, cosmetic bag, cosmetics bag, picnic bag, \
         airline bag, overnight bag, washbag, make up bag, satchel, tissue holder, sun hat, fan",
    ),
    (TABLEWARE, "tea bag plate, napkin ring, napkin charm"),
    (
        JEWELLERY,
        "necklace, necklac, neckl, necl, bracelet, earring, brooch, bangle, pendant, hair, hairclip, \
         hairslide, hairband, bag charm, phone charm, charm, ring, bead, choker, tiara, diamante pen, \
         cufflink, scarf, scarve, glove, ear muff, sunglass, badge, jewellery, watch, ponytail, boa",
    ),
    (
        BATH,
        "hot water bottle, hand warmer, pocket warmer, soap, bath, flannel, sponge, towel, talc, lip, \
         lipstick, cosmetic, toilet, balm, shower, plaster, first aid, tissue, manicure, cotton wool, \
         toothbrush, nail, slipper, pamper, bathroom, medicine, massage, fly swat, headache, pharmacie, \
         compact mirror, dressing table, perfume, eye mask, bubble",
    ),
    (
        STATIONERY,
        "card, notebook, wrap, pencil, pen, journal, sticker, postcard, eraser, rubber, sharpener, tape, \
         sketchbook, stationery, pocket book, calendar, writing, address book, ribbon, scrap book, scrapbook, \
         letterhead, paper clip, envelope, stamp, bookmark, paperweight, ruler, note pad, memo, notepad, \
         book, diary, pad, craft paper, scissor, paper knife, office",
    ),
    (
        PARTY,
        "balloon, bunting, party, invite, confetti, garland, paper plate, paper cup, paper chain, honeycomb, \
         paper ball, paper fan, straw, rosette, easter, valentine, cocktail parasol, lei, leis, grass skirt, \
         birthday, pennant, paper napkin, napkin, doily, doilie, wedding, tissue ball, fancy dress, mask, \
         pirate, halloween, streamer, cracker, pom pom, flag, paper parasol, bow",
    ),
    (
        TEXTILES,
        "cushion, throw, doormat, rug, quilt, blanket, curtain, fabric, filler pad, sock, stocking, bolster, \
         door mat, doorstop, door stop, pouffe, chair pad, bedding, draught, felt, lace, cosy, knitted, t \
         shirt, dress, hat, shoe, poncho, hanky, ironing board",
    ),
    (
        GARDEN,
        "garden, watering can, planter, plant, flower pot, flowerpot, birdhouse, bird house, bird feeder, \
         bird table, bird bath, gnome, trowel, secateur, hammock, parasol, windmill, wind chime, windchime, \
         chime, bulb, seed, potting, picnic, herb, deckchair, bucket, spade, rake, grow your own, greenhouse, \
         beehive, topiary, outdoor, bbq, barbecue, seaside, beach, thermometer, cloche, string dispenser, \
         garden twine, camping, watering, hen house, wheelbarrow, fishing",
    ),
    (
        TABLEWARE,
        "mug, cup, saucer, plate, bowl, teapot, tea pot, teaspoon, cutlery, tumbler, wine glass, jug, \
         coaster, placemat, place mat, table cloth, tablecloth, dish, egg holder, egg cup, tray, tea set, \
         goblet, decanter, breakfast set, salt and pepper, tea for one, place setting, platter, hi ball, \
         coffee, spoon, fork, table mat, cocktail, tea tray, d o f, sundae, chalice, carafe, beaker, shot \
         glass, drinking, wine, beer, bottle opener, glass, table runner, teatime, tea time, cereal, dinner, \
         toast rack, butter",
    ),
    (
        KITCHEN,
        "cake, scale, measuring, measure, cutter, biscuit, bread, tin, jar, caddy, pantry, whisk, chopping, \
         mould, egg, cook, pan, grater, colander, larder, timer, milk, sugar, rolling pin, utensil, cookery, \
         ladle, bottle, pizza, toast, sandwich, fridge, water, sieve, trivet, jelly, ice cream, ice, lolly, \
         pudding, tea, cork",
    ),
    (
        FRAMES,
        "clock, frame, photo, photoframe, mirror, picture, print, wall art, album, canvas, poster, mirrored, \
         film, record",
    ),
    (
        STORAGE,
        "box, basket, storage, drawer, cabinet, tidy, chest, rack, shelf, shelves, hanger, hook, coathanger, \
         crate, trinket, bin, magazine, knob, holder, container, stool, chair, table, case, bedside, stand, \
         tub, pot, cupboard, furniture, trunk, ladder, peg, bag, organiser, file, doorknob, bureau, dresser, \
         hamper, tank, sack",
    ),
    (
        DECOR,
        "sign, heart, decoration, ornament, vase, wall, tile, letter, wreath, bell, star, mobile, dove, \
         angel, butterfly, butterflies, door, magnet, hanging, flower, rose, bird, wooden, wood, metal, \
         number, bouquet, feather, tree, sculpture, statue, figurine, cat, dog, owl, rabbit, bunny, bunnies, \
         chick, chicken, hen, elephant, duck, frog, swan, deer, lily, daisy, blossom, orchid, tulip, \
         hydrangea, peony, poppy, poppies, anemone, stem, floral, garden sign, ivy, crystal, skull, fairy, \
         cherub, crown, shell, globe, plaque, block, word, folkart, cornice, zinc, slate, wicker, gazebo, \
         screen, bead curtain, candy, geisha, buddha, hand open",
    ),
];

/// A phrase as its words.
type Phrase = Vec<String>;

/// The rules with their phrases as words.
static BY_WORDS: LazyLock<Vec<(&str, Vec<Phrase>)>> = LazyLock::new(|| {
    let phrases = |listed: &str| listed.split(", ").map(words).collect();
    RULES.iter().map(|(category, wanted)| (*category, phrases(wanted))).collect()
});

/// The category of a product of that name.
pub(crate) fn of(title: &str) -> &'static str {
    let words = words(title);
    let said = |phrases: &[Phrase]| phrases.iter().any(|phrase| holds(&words, phrase));
    BY_WORDS.iter().find(|(_, phrases)| said(phrases)).map_or(REST, |(category, _)| category)
}

fn holds(words: &[String], phrase: &[String]) -> bool {
    words.windows(phrase.len()).any(|window| window == phrase)
}

/// Colours and themes that are tags if the name says them; the tag is the word as shown.
const TAGS: &[&str] = &[
    "Red",
    "Pink",
    "Blue",
    "Green",
    "White",
    "Black",
    "Ivory",
    "Cream",
    "Purple",
    "Yellow",
    "Gold",
    "Silver",
    "Vintage",
    "Retrospot",
    "Polkadot",
    "Christmas",
    "Easter",
    "Heart",
    "Rose",
    "Paisley",
    "Babushka",
    "Spaceboy",
    "Union Jack",
    "Woodland",
    "Strawberry",
    "Butterfly",
    "Skull",
    "Dinosaur",
    "Retro",
    "French",
    "Wooden",
    "Glass",
    "Metal",
    "Ceramic",
];

/// The colours, materials and themes that a name speaks of.
pub(crate) fn tags(title: &str) -> Vec<String> {
    let words = words(title);
    let said = |tag: &&&str| holds(&words, &self::words(tag));
    TAGS.iter().filter(said).map(|tag| (*tag).to_owned()).collect()
}

/// Lower-case words of a name, plurals in `s` cut.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase().replace(['\'', '\u{2019}'], "");
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| singular(word).to_owned()).collect()
}

fn singular(word: &str) -> &str {
    let plural = word.len() > 3 && word.ends_with('s') && !word.ends_with("ss");
    match word {
        "matches" => "match",
        "dishes" => "dish",
        "boxes" => "box",
        "glasses" => "glass",
        "patches" => "patch",
        _ if plural => &word[..word.len() - 1],
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_filed_where_a_shopper_looks() {
        for (title, category) in [
            ("White Hanging Heart T-light Holder", CANDLES),
            ("Red Retrospot Mug", TABLEWARE),
            ("Set of 6 Soldier Skittles", TOYS),
            ("Nurse's Bag Soft Toy", TOYS),
            ("Jumbo Bag Red Retrospot", BAGS),
            ("Letter \"A\" Bling Key Ring", BAGS),
            ("Green Enamel Flower Ring", JEWELLERY),
            ("Pack of 72 Retrospot Cake Cases", KITCHEN),
            ("Funky Monkey Gift Bag Medium", STATIONERY),
            ("Christmas Lights 10 Santas", CHRISTMAS),
            ("Charlie + Lola Red Hot Water Bottle", BATH),
            ("Alarm Clock Bakelike Pink", FRAMES),
            ("Vintage Union Jack Bunting", PARTY),
            ("English Rose Garden Secateurs", GARDEN),
            ("Boxes of Matches", CANDLES),
            ("Ninja Thing", REST),
        ] {
            assert_eq!(of(title), category, "{title}");
        }
    }

    #[test]
    fn tags_say_only_what_the_name_says() {
        assert_eq!(tags("Red Retrospot Mug"), ["Red", "Retrospot"]);
        assert_eq!(tags("Coloured Pencils"), Vec::<String>::new());
    }
}
