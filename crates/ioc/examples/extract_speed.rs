//! Extracts from one file twenty times and prints how many megabytes that was: run it under `time`.

use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = env::args().nth(1).ok_or("usage: extract_speed FILE")?;
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    let mut found = 0;
    for _ in 0..20 {
        found = ioc::extract(&text).len();
    }
    println!("{} MB, {found} observables", text.len() * 20 / 1_000_000);
    Ok(())
}
