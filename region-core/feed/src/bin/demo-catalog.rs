//! Makes the demo catalog from the shop's invoice lines: `demo-catalog INVOICES.csv[.gz] CATALOG.csv`.

use std::fs::File;
use std::io::BufWriter;
use std::process::ExitCode;

use region_core_feed::{Feed, read, write_csv};
use shared::Currency;

/// Units on hand are this many times what the month's invoices asked for.
const STOCK_FACTOR: u64 = 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &arguments[..] else {
        eprintln!("usage: demo-catalog INVOICES.csv[.gz] CATALOG.csv");
        return ExitCode::from(2);
    };
    match make(from, to) {
        Ok(said) => {
            eprintln!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{from} to {to}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(from: &str, to: &str) -> Result<String, Box<dyn std::error::Error>> {
    let Feed::Invoices(file) = read(&std::fs::read(from)?, Currency::GBP)? else {
        return Err("this file is already a product catalog".into());
    };
    write_csv(&file.products, STOCK_FACTOR, BufWriter::new(File::create(to)?))?;
    Ok(format!("{} products; {} lines refused; {:?}", file.products.len(), file.refused.len(), file.counts))
}
