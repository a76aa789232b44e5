//! The inverted index: which words stand in which product. A document knows its product by a slot number alone.

use std::collections::HashMap;
use std::sync::Arc;

use region_core_catalog::{Item, Snapshot};
use shared::ProductId;
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, TextAnalyzer,
};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, Term};

/// Bytes that changes may take before they are made part of the index; the least that the engine accepts.
const WRITER_BYTES: usize = 15_000_000;

/// Longest word that is indexed, in bytes.
const LONGEST_WORD: usize = 60;

const PLAIN: &str = "plain";
const STEMMED: &str = "stemmed";

/// Where words are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) slot: Field,
    /// The title's words, lower case, without accents.
    pub(crate) title: Field,
    /// The same, English endings cut.
    pub(crate) title_stems: Field,
    /// The title's words as one term.
    pub(crate) whole_title: Field,
    /// Neighbouring words of the title written as one, so that "lunchbox" finds a lunch box.
    pub(crate) joined: Field,
    /// Each SKU, lower case.
    pub(crate) sku: Field,
    pub(crate) tags: Field,
    pub(crate) category: Field,
    pub(crate) vendor: Field,
    pub(crate) description: Field,
}

/// Cuts text into words, the same way for products and for queries.
#[derive(Clone)]
pub(crate) struct Words {
    plain: TextAnalyzer,
    stemmed: TextAnalyzer,
}

impl Words {
    fn new() -> Self {
        let plain = || {
            TextAnalyzer::builder(SimpleTokenizer::default())
                .filter(RemoveLongFilter::limit(LONGEST_WORD))
                .filter(LowerCaser)
                .filter(AsciiFoldingFilter)
        };
        Self { plain: plain().build(), stemmed: plain().filter(Stemmer::new(Language::English)).build() }
    }

    /// Lower-case words without accents.
    pub(crate) fn plain(&mut self, text: &str) -> Vec<String> {
        cut(&mut self.plain, text)
    }

    /// The word without its English ending.
    pub(crate) fn stem(&mut self, word: &str) -> String {
        cut(&mut self.stemmed, word).pop().unwrap_or_else(|| word.to_owned())
    }
}

fn cut(analyzer: &mut TextAnalyzer, text: &str) -> Vec<String> {
    let mut words = Vec::new();
    analyzer.token_stream(text).process(&mut |token| words.push(token.text.clone()));
    words
}

/// The index with its one writer.
pub(crate) struct ProductIndex {
    pub(crate) fields: Fields,
    pub(crate) words: Words,
    writer: IndexWriter,
    reader: IndexReader,
    /// Slot and version of each indexed product.
    known: HashMap<ProductId, (u64, u64)>,
    /// What each slot number stands for; freed slots are used again.
    slots: Vec<Option<Arc<Item>>>,
    free: Vec<u64>,
}

/// The index at one version of the catalog, with what its slots stand for.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) searcher: Searcher,
    pub(crate) slots: Arc<[Option<Arc<Item>>]>,
}

impl ProductIndex {
    pub(crate) fn new() -> tantivy::Result<Self> {
        let (schema, fields) = schema();
        let words = Words::new();
        let index = Index::create_in_ram(schema);
        index.tokenizers().register(PLAIN, words.plain.clone());
        index.tokenizers().register(STEMMED, words.stemmed.clone());
        let writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { fields, words, writer, reader, known: HashMap::new(), slots: Vec::new(), free: Vec::new() })
    }

    /// Brings the index to a snapshot: only products that differ are written.
    pub(crate) fn update(&mut self, snapshot: &Snapshot) -> tantivy::Result<View> {
        let gone: Vec<ProductId> =
            self.known.keys().filter(|id| snapshot.find_by_id(**id).is_none()).copied().collect();
        for id in gone {
            self.forget(id);
        }
        for item in snapshot.items() {
            if self.known.get(&item.product_id).is_none_or(|(_, version)| *version != item.version) {
                self.learn(item)?;
            }
        }
        self.writer.commit()?;
        self.reader.reload()?;
        Ok(View { searcher: self.reader.searcher(), slots: self.slots.clone().into() })
    }

    fn forget(&mut self, id: ProductId) {
        if let Some((slot, _)) = self.known.remove(&id) {
            self.writer.delete_term(Term::from_field_u64(self.fields.slot, slot));
            self.slots[place(slot)] = None;
            self.free.push(slot);
        }
    }

    fn learn(&mut self, item: &Arc<Item>) -> tantivy::Result<()> {
        self.forget(item.product_id);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u64 - 1
        });
        let document = self.document(slot, item);
        self.writer.add_document(document)?;
        self.slots[place(slot)] = Some(item.clone());
        self.known.insert(item.product_id, (slot, item.version));
        Ok(())
    }

    fn document(&mut self, slot: u64, item: &Item) -> TantivyDocument {
        let fields = self.fields;
        let mut document = TantivyDocument::new();
        document.add_u64(fields.slot, slot);
        document.add_text(fields.title, &item.title);
        document.add_text(fields.title_stems, &item.title);
        let words = self.words.plain(&item.title);
        document.add_text(fields.whole_title, words.join(" "));
        for pair in words.windows(2) {
            document.add_text(fields.joined, pair.concat());
        }
        for variant in &item.variants {
            document.add_text(fields.sku, variant.sku.as_str().to_lowercase());
        }
        for tag in &item.tags {
            document.add_text(fields.tags, tag);
        }
        for value in item.options.iter().flat_map(|option| &option.values) {
            document.add_text(fields.tags, value);
        }
        document.add_text(fields.category, &item.category.name);
        if let Some(vendor) = &item.vendor {
            document.add_text(fields.vendor, vendor);
        }
        document.add_text(fields.description, &item.description);
        document
    }
}

/// Slots are numbered from the length of a vector in memory.
pub(crate) fn place(slot: u64) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let text = |tokenizer: &str, record| {
        TextOptions::default()
            .set_indexing_options(TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(record))
    };
    let stems = text(STEMMED, IndexRecordOption::WithFreqs);
    let fields = Fields {
        slot: schema.add_u64_field("slot", INDEXED | FAST),
        title: schema.add_text_field("title", text(PLAIN, IndexRecordOption::WithFreqsAndPositions)),
        title_stems: schema.add_text_field("title_stems", stems.clone()),
        whole_title: schema.add_text_field("whole_title", STRING),
        joined: schema.add_text_field("joined", STRING),
        sku: schema.add_text_field("sku", STRING),
        tags: schema.add_text_field("tags", stems.clone()),
        category: schema.add_text_field("category", stems.clone()),
        vendor: schema.add_text_field("vendor", stems.clone()),
        description: schema.add_text_field("description", stems),
    };
    (schema.build(), fields)
}
