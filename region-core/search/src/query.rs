//! From what a person typed to what the index is asked, strict first and more forgiving after.
//!
//! Every word counts: a product must hold them all, somewhere. Where a word stands decides how much it is worth: a SKU
//! most, then the title as typed, the title's stem, and last the description. Later stages forgive one typo in words of four
//! letters or more, then two in long words and words that are nowhere.

use tantivy::Term;
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, DisjunctionMaxQuery, FuzzyTermQuery, Occur, PhraseQuery, Query, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};

use crate::index::{Fields, Words};

/// Words that say nothing about a product; they count only if there is no other.
const SMALL_WORDS: &[&str] =
    &["a", "an", "and", "by", "for", "from", "in", "my", "of", "on", "or", "the", "to", "with"];

/// Most words of a query that are looked at.
const MOST_WORDS: usize = 12;

/// Shortest word in which a typo is forgiven.
const SHORTEST_TYPO: usize = 4;

/// Shortest word in which, last of all, two are.
const SHORTEST_TWO_TYPOS: usize = 7;

/// How much a word is worth, by where it stands.
mod worth {
    pub(super) const WHOLE_SKU: f32 = 60.0;
    pub(super) const SKU_PREFIX: f32 = 12.0;
    pub(super) const WHOLE_TITLE: f32 = 6.0;
    pub(super) const PHRASE: f32 = 1.5;
    pub(super) const TITLE: f32 = 3.0;
    pub(super) const TITLE_STEM: f32 = 2.4;
    pub(super) const JOINED: f32 = 2.0;
    pub(super) const TITLE_PREFIX: f32 = 2.0;
    pub(super) const TAGS: f32 = 1.0;
    pub(super) const CATEGORY: f32 = 1.0;
    pub(super) const VENDOR: f32 = 1.0;
    pub(super) const DESCRIPTION: f32 = 0.4;
    pub(super) const TYPO: f32 = 0.8;
    /// What the same word in further places adds.
    pub(super) const ELSEWHERE: f32 = 0.1;
}

/// How much a query forgives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Every word as typed, or its stem.
    Strict,
    /// Every word, one typo each.
    Typos,
    /// Half of the words, two typos in long ones.
    SomeWords,
}

impl Stage {
    pub(crate) const ALL: [Self; 3] = [Self::Strict, Self::Typos, Self::SomeWords];

    /// Whether this stage is worth a try after the stages before found that many.
    pub(crate) fn follows(self, found: usize) -> bool {
        match self {
            Self::Strict => true,
            Self::Typos => found < 3,
            Self::SomeWords => found == 0,
        }
    }

    /// Typos that are forgiven in a word of that many letters.
    fn typos(self, letters: usize) -> u8 {
        match self {
            Self::Strict => 0,
            Self::Typos => u8::from(letters >= SHORTEST_TYPO),
            Self::SomeWords => u8::from(letters >= SHORTEST_TYPO) + u8::from(letters >= SHORTEST_TWO_TYPOS),
        }
    }
}

/// What a person typed, cut into words.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    /// Every word.
    all: Vec<Word>,
    /// Whether the last word may be unfinished.
    open_end: bool,
    whole: String,
}

#[derive(Debug, Clone)]
struct Word {
    plain: String,
    stem: String,
}

impl Typed {
    pub(crate) fn read(text: &str, words: &mut Words) -> Self {
        let mut plain = words.plain(text);
        plain.truncate(MOST_WORDS);
        let all = plain.into_iter().map(|plain| Word { stem: words.stem(&plain), plain }).collect();
        Self { all, open_end: text.ends_with(char::is_alphanumeric), whole: text.trim().to_lowercase() }
    }

    /// The words that a product must hold, and whether each is the last one typed.
    fn telling(&self) -> Vec<(&Word, bool)> {
        let last = self.all.len().saturating_sub(1);
        let marked = || self.all.iter().enumerate().map(|(index, word)| (word, index == last && self.open_end));
        let telling: Vec<_> = marked().filter(|(word, _)| !SMALL_WORDS.contains(&word.plain.as_str())).collect();
        if telling.is_empty() { marked().collect() } else { telling }
    }

    /// The query of a stage.
    pub(crate) fn query(&self, fields: Fields, stage: Stage) -> Box<dyn Query> {
        if self.whole.is_empty() {
            return Box::new(AllQuery);
        }
        let sku = term(fields.sku, &self.whole, worth::WHOLE_SKU);
        if self.all.is_empty() {
            return sku;
        }
        Box::new(BooleanQuery::union(vec![sku, self.by_words(fields, stage)]))
    }

    fn by_words(&self, fields: Fields, stage: Stage) -> Box<dyn Query> {
        let words: Vec<_> = self.telling().into_iter().map(|(word, open)| word.anywhere(fields, open, stage)).collect();
        let wanted = match stage {
            Stage::SomeWords => (words.len() / 2).max(1),
            Stage::Strict | Stage::Typos => words.len(),
        };
        let found: Box<dyn Query> = Box::new(BooleanQuery::union_with_minimum_required_clauses(words, wanted));
        let plain: Vec<&str> = self.all.iter().map(|word| word.plain.as_str()).collect();
        let mut clauses =
            vec![(Occur::Must, found), (Occur::Should, term(fields.whole_title, &plain.join(" "), worth::WHOLE_TITLE))];
        if plain.len() > 1 {
            let terms = plain.iter().map(|word| Term::from_field_text(fields.title, word)).collect();
            clauses.push((Occur::Should, boosted(PhraseQuery::new(terms), worth::PHRASE)));
        }
        Box::new(BooleanQuery::new(clauses))
    }
}

impl Word {
    /// The word in any field, worth what its best place is worth.
    fn anywhere(&self, fields: Fields, open: bool, stage: Stage) -> Box<dyn Query> {
        let (plain, stem) = (self.plain.as_str(), self.stem.as_str());
        let mut places = vec![
            term(fields.title, plain, worth::TITLE),
            term(fields.title_stems, stem, worth::TITLE_STEM),
            term(fields.joined, plain, worth::JOINED),
            term(fields.tags, stem, worth::TAGS),
            term(fields.category, stem, worth::CATEGORY),
            term(fields.vendor, stem, worth::VENDOR),
            term(fields.description, stem, worth::DESCRIPTION),
        ];
        let numbered = plain.bytes().any(|byte| byte.is_ascii_digit());
        if numbered && plain.len() >= 3 {
            places.push(prefix(fields.sku, plain, worth::SKU_PREFIX));
        }
        if open && plain.len() >= 2 {
            places.push(prefix(fields.title, plain, worth::TITLE_PREFIX));
        }
        let typos = if numbered { 0 } else { stage.typos(plain.chars().count()) };
        if typos > 0 {
            places.push(typo(fields.title, plain, typos));
            places.extend([fields.category, fields.vendor, fields.tags].map(|field| typo(field, stem, typos)));
        }
        Box::new(DisjunctionMaxQuery::with_tie_breaker(places, worth::ELSEWHERE))
    }
}

fn boosted(query: impl Query, worth: f32) -> Box<dyn Query> {
    Box::new(BoostQuery::new(Box::new(query), worth))
}

fn term(field: Field, text: &str, worth: f32) -> Box<dyn Query> {
    boosted(TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::WithFreqs), worth)
}

fn prefix(field: Field, text: &str, worth: f32) -> Box<dyn Query> {
    boosted(FuzzyTermQuery::new_prefix(Term::from_field_text(field, text), 0, true), worth)
}

/// Up to that many letters wrong, missing, surplus or swapped with its neighbour.
fn typo(field: Field, text: &str, typos: u8) -> Box<dyn Query> {
    boosted(FuzzyTermQuery::new(Term::from_field_text(field, text), typos, true), worth::TYPO)
}
