//! The things that are drawn, in a box from -100 to 100. `$F` is the thing's pattern, `$M` its colour, `$A` the accent,
//! `$D` the dark of the details. The first whose word is in the name is taken, so the more telling words come first.

/// Words and what they look like.
const MOTIFS: &[(&[&str], &str)] = &[
    (
        &["babushka", "doll", "dolly", "dolls"],
        r##"<path d="M0-96c-36 0-46 30-40 52C-66-22-72 30-58 92H58C72 30 66-22 40-44 46-66 36-96 0-96z" fill="$F"/><circle cy="-54" r="27" fill="$A"/><path d="M-24-66c10-16 38-16 48 0-14-4-34-4-48 0z" fill="$D"/><circle cx="-9" cy="-52" r="3" fill="$D"/><circle cx="9" cy="-52" r="3" fill="$D"/><path d="M-7-41q7 6 14 0" fill="none" stroke="$D" stroke-width="3"/><ellipse cy="30" rx="34" ry="42" fill="$A"/><path d="M0 14c8-14 26 2 0 24-26-22-8-38 0-24z" fill="$M"/>"##,
    ),
    (
        &["lantern", "lanterns"],
        r##"<path d="M-22-84a22 22 0 0 1 44 0" fill="none" stroke="$D" stroke-width="7"/><path d="M-46-58 0-92l46 34z" fill="$M"/><path d="M-52-58H52v14H-52zM-56 78H56v16H-56z" fill="$D"/><path d="M-44-44h88V78h-88z" fill="$A"/><path d="M-44-44h12V78h-12zM32-44h12V78H32zM-5-44H5V78H-5z" fill="$F"/><path d="M-14 34h28v44h-28z" fill="$M" opacity=".85"/><path d="M0-8c14 18 12 38 0 40-12-2-14-22 0-40z" fill="#ffc65c"/>"##,
    ),
    (
        &["lights", "bulb", "fairy-lights"],
        r##"<path d="M-98-52Q-40 14 0-22T98-46" fill="none" stroke="$D" stroke-width="5"/><g fill="$F"><path d="M-72-22c16 4 20 40 4 52-18-6-22-42-4-52zM-30-4c16 4 20 40 4 52-18-6-22-42-4-52zM16-20c16 4 20 40 4 52-18-6-22-42-4-52zM62-34c16 4 20 40 4 52-18-6-22-42-4-52z"/></g><g fill="$D"><path d="M-80-34h16v14h-16zM-38-14h16v14h-16zM8-32h16v14H8zM54-46h16v14H54z"/></g>"##,
    ),
    (
        &["candle", "candles", "light", "tlight", "votive", "candlestick", "holder"],
        r##"<path d="M-52 4h104l-12 84h-80z" fill="$F"/><ellipse cy="4" rx="52" ry="12" fill="$D" opacity=".35"/><path d="M-20-40h40V6h-40z" fill="$A"/><path d="M0-96c20 26 18 50 0 54-18-4-20-28 0-54z" fill="#ffc65c"/><path d="M0-70c8 12 7 24 0 26-7-2-8-14 0-26z" fill="#fff3d0"/><path d="M0-44v8" stroke="$D" stroke-width="4"/>"##,
    ),
    (
        &["teapot", "kettle"],
        r##"<path d="M-60-30C-84 30-62 84 0 84s84-54 60-114z" fill="$F"/><path d="M58-10c34-16 22 44-12 50M-62 0c-24-4-22-34-40-38" fill="none" stroke="$M" stroke-width="14" stroke-linecap="round"/><path d="M-62-30q62-30 124 0z" fill="$D"/><circle cy="-54" r="12" fill="$D"/>"##,
    ),
    (
        &["mug", "mugs", "cup", "cups", "teacup", "beaker", "tea", "coffee"],
        r##"<path d="M-64-48H44v84c0 30-20 44-44 44h-20c-24 0-44-14-44-44z" fill="$F"/><path d="M44-24c54-14 54 64 0 56" fill="none" stroke="$M" stroke-width="15"/><ellipse cx="-10" cy="-48" rx="54" ry="12" fill="$D" opacity=".55"/><path d="M-34-70q-12-14 0-28M-6-70q-12-14 0-28M22-70q-12-14 0-28" fill="none" stroke="$D" stroke-width="5" stroke-linecap="round" opacity=".4"/>"##,
    ),
    (
        &["bag", "bags", "shopper", "tote", "handbag", "rucksack", "backpack"],
        r##"<path d="M-36-34c0-76 72-76 72 0" fill="none" stroke="$D" stroke-width="9"/><path d="M-72-38H72l12 126H-84z" fill="$F"/><path d="M-72-38H72l2 20H-74z" fill="$D" opacity=".18"/><circle cx="-36" cy="-26" r="5" fill="$D"/><circle cx="36" cy="-26" r="5" fill="$D"/>"##,
    ),
    (
        &["purse", "wallet", "pouch"],
        r##"<path d="M-80-20c0-20 160-20 160 0 14 60 10 96-80 96s-94-36-80-96z" fill="$F"/><path d="M-82-20q82-28 164 0" fill="none" stroke="$D" stroke-width="10" stroke-linecap="round"/><circle cx="-9" cy="-44" r="10" fill="$D"/><circle cx="9" cy="-44" r="10" fill="$D"/>"##,
    ),
    (
        &["bottle", "flask"],
        r##"<path d="M-24-96h48v22h-48z" fill="$D"/><path d="M-30-70h60c0 20 40 14 40 50v76c0 22-14 36-36 36h-68c-22 0-36-14-36-36v-76c0-36 40-30 40-50z" fill="$F"/><path d="M-44-10h88v62h-88z" fill="$A" opacity=".9"/><path d="M0 42-22 20a13 13 0 0 1 22-15 13 13 0 0 1 22 15z" fill="$M"/>"##,
    ),
    (
        &["clock", "clocks", "alarm", "watch"],
        r##"<path d="m-56-64-24-16M56-64l24-16M-46 76l-18 18M46 76l18 18" stroke="$D" stroke-width="10" stroke-linecap="round"/><circle cy="8" r="82" fill="$F"/><circle cy="8" r="62" fill="$A"/><path d="M0-36V10l30 20" fill="none" stroke="$D" stroke-width="8" stroke-linecap="round"/><circle cy="9" r="7" fill="$D"/><g fill="$D"><circle cy="-44" r="4"/><circle cy="60" r="4"/><circle cx="-52" cy="8" r="4"/><circle cx="52" cy="8" r="4"/></g>"##,
    ),
    (
        &["frame", "frames", "photo", "mirror", "picture", "print", "art"],
        r##"<path d="M-78-92H78V92H-78z" fill="$F"/><path d="M-56-70H56v140H-56z" fill="$A"/><circle cx="24" cy="-34" r="16" fill="#ffc65c"/><path d="m-56 40 36-50 28 34 20-22 28 38v30H-56z" fill="$D" opacity=".55"/>"##,
    ),
    (
        &["bauble", "baubles", "ornament"],
        r##"<path d="M-12-80h24v22h-24z" fill="$D"/><path d="M0-96a10 10 0 0 1 0 20" fill="none" stroke="$D" stroke-width="5"/><circle cy="14" r="74" fill="$F"/><path d="M-66-20q66 34 132 0" fill="none" stroke="$D" stroke-width="5" opacity=".5"/>"##,
    ),
    (
        &["snowman", "snow", "snowflake", "winter"],
        r##"<circle cy="46" r="50" fill="$A"/><circle cy="-34" r="36" fill="$A"/><path d="M-32-60h64v10h-64zM-20-96h40v38h-40z" fill="$D"/><path d="M-34-6Q0 12 34-6v14Q0 26-34 8z" fill="$F"/><circle cx="-11" cy="-38" r="4" fill="$D"/><circle cx="11" cy="-38" r="4" fill="$D"/><path d="m0-30 24 6-24 6z" fill="#e58432"/><circle cy="40" r="5" fill="$D"/><circle cy="62" r="5" fill="$D"/>"##,
    ),
    (
        &["christmas", "xmas", "tree", "advent", "santa", "noel", "trees"],
        r##"<path d="M-12 66h24v28h-24z" fill="$D"/><path d="M0-92 44-34H26L62 16H40l36 52H-76l36-52h-22l36-50h-18z" fill="$F"/><path d="m0-108 7 14 15 2-11 10 3 15L0-74l-14 7 3-15-11-10 15-2z" fill="#ffc65c"/>"##,
    ),
    (
        &["star", "stars"],
        r##"<path d="m0-94 28 60 66 8-49 45 13 65L0 52l-58 32 13-65-49-45 66-8z" fill="$F"/><path d="m0-46 14 30 33 4-24 22 6 33L0 27l-29 16 6-33-24-22 33-4z" fill="$A" opacity=".7"/>"##,
    ),
    (
        &["bird", "birds", "owl", "robin", "duck", "hen", "chicken", "chick", "cockerel", "partridge"],
        r##"<path d="M-84 24C-60 90 60 94 66 10 94 4 92-24 70-28 50-84-22-78-20-14c-2 20-40 34-64 38z" fill="$F"/><path d="M-12 18c20-28 56-20 54 6-18 28-48 22-54-6z" fill="$A"/><circle cx="38" cy="-34" r="6" fill="$D"/><path d="m70-28 28 8-28 10z" fill="#e58432"/><path d="M-6 78v20M24 76v20" stroke="$D" stroke-width="6" stroke-linecap="round"/>"##,
    ),
    (
        &["butterfly", "butterflies", "bee", "ladybird"],
        r##"<path d="M-4-10C-40-90-110-70-84-14-70 8-30 6-4 0zM4-10C40-90 110-70 84-14 70 8 30 6 4 0z" fill="$F"/><path d="M-4 4c-50-8-80 24-58 56 26 26 52-8 58-40zM4 4c50-8 80 24 58 56C36 86 10 52 4 20z" fill="$M" opacity=".8"/><path d="M0-34v92" stroke="$D" stroke-width="10" stroke-linecap="round"/><path d="M0-34q-12-26-28-30M0-34q12-26 28-30" fill="none" stroke="$D" stroke-width="4"/>"##,
    ),
    (
        &["cakestand", "cake", "cakes", "cupcake", "muffin", "baking", "cases", "bake", "sponge"],
        r##"<path d="M-52 14H52L38 90h-76z" fill="$F"/><path d="M-26 16 -20 88M0 16v72M26 16l-6 72" stroke="$D" stroke-width="3" opacity=".3"/><path d="M-64 18c-16-26 8-44 22-42C-44-56-14-70 0-70s44 14 42 46c14-2 38 16 22 42z" fill="$A"/><path d="M-64 18c-16-26 8-44 22-42 20 20 64 20 84 0 14-2 38 16 22 42z" fill="$M" opacity=".55"/><circle cy="-76" r="14" fill="#d6403a"/>"##,
    ),
    (
        &["umbrella", "parasol", "rain"],
        r##"<path d="M-92 0a92 92 0 0 1 184 0q-23-22-46 0-23-22-46 0-23-22-46 0-23-22-46 0z" fill="$F"/><path d="M0-4v76q0 20 20 20t20-18" fill="none" stroke="$D" stroke-width="8" stroke-linecap="round"/><path d="M0-92v-12" stroke="$D" stroke-width="8" stroke-linecap="round"/>"##,
    ),
    (
        &["bunting", "party", "flag", "flags", "garland", "banner"],
        r##"<path d="M-100-50Q0 0 100-50" fill="none" stroke="$D" stroke-width="6"/><path d="m-92-46 40 17-26 50zM-46-28l44 4-24 56zM6-24l44-6-16 58zM56-32l38-16-4 56z" fill="$F"/><path d="m-46-28 44 4-24 56zM56-32l38-16-4 56z" fill="$A" opacity=".55"/>"##,
    ),
    (
        &["balloon", "balloons"],
        r##"<path d="M-30-86c36 0 52 30 48 58-4 26-30 44-48 48-18-4-44-22-48-48-4-28 12-58 48-58z" fill="$F"/><path d="M40-56c32 0 46 26 42 50-4 22-26 38-42 42-16-4-38-20-42-42-4-24 10-50 42-50z" fill="$M" opacity=".8"/><path d="M-30 22q14 34 30 70M40 36q-24 20-40 56" fill="none" stroke="$D" stroke-width="4"/>"##,
    ),
    (
        &["necklace", "bracelet", "pendant", "beads", "bead", "jewel", "jewellery", "jewelry", "charm"],
        r##"<path d="M-74-80C-84 10-40 46 0 50 40 46 84 10 74-80" fill="none" stroke="$D" stroke-width="6"/><g fill="$M"><circle cx="-64" cy="-22" r="10"/><circle cx="-46" cy="14" r="11"/><circle cx="64" cy="-22" r="10"/><circle cx="46" cy="14" r="11"/></g><path d="m0 32 30 22-30 42-30-42z" fill="$F"/><path d="m-30 54 60 0" stroke="$D" stroke-width="3" opacity=".5"/>"##,
    ),
    (
        &["earrings", "earring", "ring", "rings", "brooch", "hairclip", "hair"],
        r##"<circle cy="28" r="58" fill="none" stroke="$M" stroke-width="16"/><path d="m0-96 38 28L0-20l-38-48z" fill="$F"/><path d="M-38-68h76M-14-68 0-20l14-48-14-28z" fill="none" stroke="$D" stroke-width="3" opacity=".45"/>"##,
    ),
    (
        &[
            "cushion",
            "pillow",
            "throw",
            "quilt",
            "blanket",
            "towel",
            "tablecloth",
            "napkins",
            "napkin",
            "linen",
            "cushions",
            "textiles",
        ],
        r##"<path d="M-84-76Q0-58 84-76 68 0 84 80 0 62-84 80-68 0-84-76z" fill="$F"/><path d="M-50-46Q0-36 50-46 42 0 50 50 0 40-50 50-42 0-50-46z" fill="none" stroke="$A" stroke-width="7"/><circle r="10" fill="$D" opacity=".6"/>"##,
    ),
    (
        &["basket", "baskets", "wicker", "hamper", "trug"],
        r##"<path d="M-58-20c0-90 116-90 116 0" fill="none" stroke="$D" stroke-width="10"/><path d="M-88-22H88L66 84H-66z" fill="$F"/><path d="M-92-30H92v20H-92z" fill="$D" opacity=".75"/><path d="M-78 16H78M-72 48H72" stroke="$D" stroke-width="4" opacity=".3"/>"##,
    ),
    (
        &["flowerpot", "garden", "plant", "planter", "pot", "pots", "seeds", "herb", "watering", "cactus", "vase"],
        r##"<path d="M0 10C-6-40-60-44-70-78-26-86 2-54 0-20 4-70 40-96 74-90 70-50 30-36 0 10z" fill="#5c9a62"/><path d="M0 20v-60" stroke="#356b3d" stroke-width="6"/><path d="M-58 12H58l-12 82h-92z" fill="$F"/><path d="M-66 4H66v22H-66z" fill="$D" opacity=".7"/>"##,
    ),
    (
        &["rose", "roses", "flower", "flowers", "daisy", "floral", "poppy", "wreath", "tulip", "lily", "lavender"],
        r##"<path d="M0 20v76M0 60q28-30 46-14Q34 74 0 70M0 78q-28-24-46-8 14 20 46 14" fill="#5c9a62" stroke="#3f7548" stroke-width="5"/><g fill="$F"><circle cy="-68" r="30"/><circle cx="40" cy="-38" r="30"/><circle cx="26" cy="10" r="30"/><circle cx="-26" cy="10" r="30"/><circle cx="-40" cy="-38" r="30"/></g><circle cy="-24" r="24" fill="#ffc65c"/><circle cy="-24" r="12" fill="$D" opacity=".35"/>"##,
    ),
    (
        &["jar", "jam", "jars", "glass", "decanter", "storage", "canister", "biscuit"],
        r##"<path d="M-50-92H50v26H-50z" fill="$D"/><path d="M-60-62H60c10 10 10 16 10 26v90c0 24-12 36-30 36h-80c-18 0-30-12-30-36v-90c0-10 0-16 10-26z" fill="$F"/><path d="M-42-14h84v58h-84z" fill="$A"/><path d="M-26 6h52M-26 24h36" stroke="$D" stroke-width="6" stroke-linecap="round" opacity=".5"/>"##,
    ),
    (
        &["bowl", "bowls", "dish", "dishes", "plate", "plates", "platter", "saucer", "tray", "jug", "pudding"],
        r##"<path d="M-92-16H92C90 50 44 74 30 76h-60c-14-2-60-26-62-92z" fill="$F"/><ellipse cy="-16" rx="92" ry="20" fill="$A"/><ellipse cy="-14" rx="72" ry="12" fill="$D" opacity=".25"/><path d="M-34 76h68v14h-68z" fill="$D"/>"##,
    ),
    (
        &["spoon", "spoons", "cutlery", "kitchen", "whisk", "scoop", "spatula", "rolling", "fork", "knife", "chopping"],
        r##"<path d="M-34-96c-30 0-38 62-8 70v114a9 9 0 0 0 18 0V-26c30-8 20-70-10-70z" fill="$F"/><path d="M24-96v46c0 12 8 20 16 22V88a9 9 0 0 0 18 0V-28c8-2 16-10 16-22v-46M40-96v44M58-96v44" fill="none" stroke="$M" stroke-width="9" stroke-linecap="round"/>"##,
    ),
    (
        &["apron", "dress", "gown", "skirt"],
        r##"<path d="M-22-92C-22-60 22-60 22-92" fill="none" stroke="$D" stroke-width="7"/><path d="M-34-76h68v44c16 8 34 10 44 10 0 60-10 90-16 112H-62c-6-22-16-52-16-112 10 0 28-2 44-10z" fill="$F"/><path d="M-34 16h68v38q-34 18-68 0z" fill="$D" opacity=".18"/>"##,
    ),
    (
        &["shirt", "tee", "sweater", "jumper", "hoodie", "jacket", "top", "tank", "coat", "blouse", "polo"],
        r##"<path d="m-34-84-62 34 18 44 26-12V88H52v-106l26 12 18-44-62-34C22-58-22-58-34-84z" fill="$F"/><path d="M-34-84c12 26 56 26 68 0" fill="none" stroke="$D" stroke-width="7" opacity=".6"/>"##,
    ),
    (
        &["shoe", "shoes", "boot", "boots", "sock", "socks", "slipper", "slippers", "stocking"],
        r##"<path d="M-40-90h60v96c8 14 66 22 66 56 0 20-16 24-34 24H-16c-26 0-34-20-30-50z" fill="$F"/><path d="M-46-92h72v28h-72z" fill="$A"/><path d="M52 86c18 0 34-4 34-24-10-10-34-2-34 24z" fill="$D" opacity=".4"/>"##,
    ),
    (
        &["card", "cards", "envelope", "postcard", "letter", "letters", "post", "stationery", "stamp", "stickers"],
        r##"<path d="M-92-60H92V64H-92z" fill="$F"/><path d="M-92-60 0 22 92-60" fill="none" stroke="$D" stroke-width="7" stroke-linejoin="round"/><circle cy="22" r="20" fill="$A"/><path d="m0 33-11-11a6.5 6.5 0 0 1 11-7 6.5 6.5 0 0 1 11 7z" fill="$D"/>"##,
    ),
    (
        &[
            "pencil",
            "pencils",
            "pen",
            "pens",
            "notebook",
            "journal",
            "book",
            "paper",
            "sketchbook",
            "eraser",
            "rubber",
            "ruler",
        ],
        r##"<path d="M-70-88H50q14 0 14 14V88H-70z" fill="$F"/><path d="M-70-88h22V88h-22z" fill="$D" opacity=".55"/><path d="M-24-50h62v34h-62z" fill="$A"/><path d="m34 86 52-120 18 8-52 120-20 12z" fill="#ffc65c"/><path d="m34 86-2 20 20-12z" fill="$D"/>"##,
    ),
    (
        &["ribbon", "ribbons", "bow", "wrap", "reel", "gift", "gifts", "present"],
        r##"<path d="M-76-24H76V90H-76z" fill="$F"/><path d="M-86-46H86v30H-86z" fill="$M"/><path d="M-14-46h28V90h-28z" fill="$A"/><path d="M0-46c-60 10-78-44-42-50C-14-98 0-66 0-46c0-20 14-52 42-50 36 6 18 60-42 50z" fill="none" stroke="$D" stroke-width="9"/>"##,
    ),
    (
        &["sewing", "knitting", "thread", "craft", "kit", "feltcraft", "button", "buttons", "wool", "yarn", "tape"],
        r##"<path d="M-54-90H54v22H-54zM-54 70H54v22H-54z" fill="$D"/><path d="M-44-68h88V70h-88z" fill="$F"/><path d="M-44-48 44-30M-44-22 44-4M-44 4 44 22M-44 30 44 48" stroke="$D" stroke-width="4" opacity=".35"/><path d="M44 20q50 10 40 60" fill="none" stroke="$M" stroke-width="5"/><circle cx="-78" cy="64" r="22" fill="$A"/><g fill="$D"><circle cx="-84" cy="58" r="3.5"/><circle cx="-72" cy="58" r="3.5"/><circle cx="-84" cy="70" r="3.5"/><circle cx="-72" cy="70" r="3.5"/></g>"##,
    ),
    (
        &["warmer", "warmers", "glove", "gloves", "mitten", "mitt", "oven"],
        r##"<path d="M-48 56v-86c0-74 88-74 88-2v24c10-26 46-26 46 0 0 24-26 38-46 64z" fill="$F"/><path d="M-54 54h104v36H-54z" fill="$A"/><path d="M-54 66H50M-54 78H50" stroke="$D" stroke-width="3" opacity=".3"/>"##,
    ),
    (
        &["sign", "slate", "chalkboard", "doormat", "plaque", "board", "blackboard", "memo", "noticeboard"],
        r##"<path d="M-60-40 0-92l60 52" fill="none" stroke="$D" stroke-width="6"/><circle cy="-92" r="7" fill="$D"/><path d="M-92-42H92V66H-92z" fill="$F"/><path d="M-76-26H76v76H-76z" fill="$D" opacity=".8"/><path d="M-44 0h88M-30 24h60" stroke="$A" stroke-width="8" stroke-linecap="round"/>"##,
    ),
    (
        &["spaceboy", "rocket", "space", "robot", "astronaut"],
        r##"<path d="M-28 40c-34 6-34 36-34 52 16-10 30-12 40-20zM28 40c34 6 34 36 34 52-16-10-30-12-40-20z" fill="$D"/><path d="M0-100c40 36 46 100 26 156h-52C-46 0-40-64 0-100z" fill="$F"/><circle cy="-24" r="20" fill="$A"/><circle cy="-24" r="11" fill="$D"/><path d="M-14 58h28L0 98z" fill="#ffb13d"/>"##,
    ),
    (
        &[
            "toy",
            "toys",
            "game",
            "games",
            "puzzle",
            "dominoes",
            "skittles",
            "playing",
            "jigsaw",
            "ludo",
            "jack",
            "magic",
            "children",
            "childrens",
        ],
        r##"<path d="M-84 6h78v84h-78z" fill="$F"/><path d="M4 6h78v84H4z" fill="$M"/><path d="M-40-84h78V0h-78z" fill="$A"/><path d="m-1-64 30 52h-60z" fill="$D"/><circle cx="-45" cy="48" r="20" fill="$A"/><path d="M24 30h38v38H24z" fill="$A"/>"##,
    ),
    (
        &[
            "dog", "cat", "kitten", "puppy", "rabbit", "bunny", "horse", "deer", "reindeer", "woodland", "animal",
            "elephant",
        ],
        r##"<path d="M-40-40c-30-60-8-70 10-30M40-40c30-60 8-70-10-30" fill="$M" stroke="$M" stroke-width="16" stroke-linejoin="round"/><path d="M0-62c50 0 74 36 70 76C66 60 36 84 0 84S-66 60-70 14C-74-26-50-62 0-62z" fill="$F"/><ellipse cy="36" rx="36" ry="28" fill="$A"/><circle cx="-28" cy="-8" r="7" fill="$D"/><circle cx="28" cy="-8" r="7" fill="$D"/><path d="M-10 24h20L0 36zM0 36v10" fill="$D" stroke="$D" stroke-width="4" stroke-linejoin="round"/>"##,
    ),
    (
        &["soap", "bath", "bathroom", "bubble", "shower", "beauty"],
        r##"<path d="M-84 14H84c0 50-26 70-50 70h-68c-24 0-50-20-50-70z" fill="$F"/><path d="M-94 4H94v18H-94z" fill="$D" opacity=".7"/><g fill="$A"><circle cx="-44" cy="-16" r="24"/><circle cx="0" cy="-28" r="32"/><circle cx="44" cy="-14" r="22"/><circle cx="22" cy="-70" r="13"/><circle cx="-26" cy="-78" r="9"/></g>"##,
    ),
    (
        &["lamp", "chandelier", "lampshade", "shade", "lighting"],
        r##"<path d="M-40-92h80l36 92H-76z" fill="$F"/><path d="M-7 0H7v72H-7z" fill="$D"/><path d="M-44 72h88v16h-88z" fill="$D"/><ellipse rx="76" ry="10" fill="$D" opacity=".25"/>"##,
    ),
    (
        &["chair", "stool", "sofa", "armchair", "bench", "furniture", "seat", "table", "bed"],
        r##"<path d="M-70-20v-36c0-40 140-40 140 0v36z" fill="$F"/><path d="M-92-26c24-12 34 6 34 26H58c0-20 10-38 34-26 16 10 8 34 0 50v40H-92V24c-8-16-16-40 0-50z" fill="$M"/><path d="M-58 0H58v36H-58z" fill="$A" opacity=".75"/><path d="M-78 64v24M78 64v24" stroke="$D" stroke-width="10" stroke-linecap="round"/>"##,
    ),
    (
        &["home", "house", "houses", "cottage", "birdhouse", "birdcage", "cage"],
        r##"<path d="M-70-8 0-78 70-8V86H-70z" fill="$F"/><path d="M-92 0 0-92 92 0" fill="none" stroke="$D" stroke-width="13" stroke-linejoin="round"/><path d="M-20 30a20 20 0 0 1 40 0v56h-40z" fill="$D" opacity=".75"/><circle cy="-26" r="16" fill="$A"/>"##,
    ),
    (
        &["hook", "hooks", "hanger", "hangers", "drawer", "knob", "cabinet", "shelf", "doorstop", "rack"],
        r##"<path d="M-92-50H92v44H-92z" fill="$F"/><g fill="none" stroke="$D" stroke-width="11" stroke-linecap="round"><path d="M-56-8v34c0 32 40 32 40 4M20-8v34c0 32 40 32 40 4"/></g><circle cx="-78" cy="-28" r="5" fill="$D"/><circle cx="78" cy="-28" r="5" fill="$D"/>"##,
    ),
    (
        &["box", "boxes", "tin", "tins", "trinket", "lunch", "chest", "case", "moneybox", "bin"],
        r##"<path d="M-84-20H84V84H-84z" fill="$F"/><path d="M-92-54H92v36H-92z" fill="$M"/><path d="M-92-22H92v6H-92z" fill="$D" opacity=".35"/><path d="M-20-34h40v34h-40z" fill="$A"/><circle cy="-14" r="7" fill="$D"/>"##,
    ),
    (
        &["egg", "eggs", "easter"],
        r##"<path d="M0-90c44 0 66 64 66 100 0 46-30 74-66 74s-66-28-66-74c0-36 22-100 66-100z" fill="$F"/><path d="m-64-6 21 18 21-18L0 12l22-18 21 18 21-18" fill="none" stroke="$A" stroke-width="9"/>"##,
    ),
    (
        &["strawberry", "apple", "cherry", "fruit", "berry", "pear", "lemon"],
        r##"<path d="M0-44c50-26 92 12 72 62C58 62 24 84 0 92-24 84-58 62-72 18-92-32-50-70 0-44z" fill="$F"/><path d="M0-42c-10-36-36-36-46-24 10 18 28 28 46 24zM0-42c10-36 36-36 46-24-10 18-28 28-46 24z" fill="#5c9a62"/><path d="M0-44v-34" stroke="#3f7548" stroke-width="8" stroke-linecap="round"/>"##,
    ),
    (
        &["heart", "hearts", "love", "sweetheart", "valentine", "wedding"],
        r##"<path d="M0 88-72 14c-44-48 24-124 72-66 48-58 116 18 72 66z" fill="$F"/><path d="M-50-24c6-18 22-24 34-18" fill="none" stroke="$A" stroke-width="9" stroke-linecap="round"/><path d="M0-54c-10-30 10-46 0-54" fill="none" stroke="$D" stroke-width="5"/>"##,
    ),
    (
        &["decoration", "decorations", "hanging", "chain", "set"],
        r##"<path d="M0-104v22" stroke="$D" stroke-width="5"/><path d="m0-84 62 62L0 96-62-22z" fill="$F"/><path d="M-62-22H62M0-84l-22 62L0 96l22-118z" fill="none" stroke="$D" stroke-width="4" opacity=".35"/>"##,
    ),
];

/// For names that say nothing we can draw.
pub(super) const ABSTRACT: &[&str] = &[
    r##"<path d="M-70 84v-84a70 70 0 0 1 140 0v84z" fill="$F"/><circle cy="8" r="30" fill="$A"/><circle cx="62" cy="-62" r="22" fill="$D" opacity=".75"/>"##,
    r##"<circle cx="-26" cy="20" r="68" fill="$F"/><circle cx="40" cy="-26" r="54" fill="$M" opacity=".8"/><path d="M-90 92H90" stroke="$D" stroke-width="9" stroke-linecap="round"/>"##,
    r##"<path d="M-84-84H0a84 84 0 0 1 0 168h-84z" fill="$F"/><path d="M84-84v84H0a84 84 0 0 1 84-84z" fill="$A"/><circle cx="44" cy="44" r="28" fill="$D" opacity=".7"/>"##,
    r##"<path d="M-60 90c-40-60-20-180 60-186 80 6 100 126 60 186z" fill="$F"/><path d="M-34 90c-20-40-12-110 34-114 46 4 54 74 34 114z" fill="$A"/><path d="M-12 90c-8-20-4-50 12-52 16 2 20 32 12 52z" fill="$D" opacity=".6"/>"##,
    r##"<path d="M-80 80 0-86 80 80z" fill="$F"/><circle cy="30" r="34" fill="$A"/><path d="M-96 80H96" stroke="$D" stroke-width="10" stroke-linecap="round"/>"##,
    r##"<rect x="-80" y="-80" width="76" height="76" rx="20" fill="$F"/><rect x="4" y="-80" width="76" height="76" rx="38" fill="$M"/><rect x="-80" y="4" width="76" height="76" rx="38" fill="$A"/><rect x="4" y="4" width="76" height="76" rx="20" fill="$D" opacity=".7"/>"##,
];

/// The thing that these words name.
pub(super) fn find(words: &[&str]) -> Option<&'static str> {
    MOTIFS.iter().find(|(names, _)| names.iter().any(|name| words.contains(name))).map(|(_, thing)| *thing)
}

/// Every word that names a thing.
#[cfg(test)]
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    MOTIFS.iter().flat_map(|(names, _)| names.iter().copied())
}
