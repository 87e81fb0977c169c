//! What the benches share: a client that does as little as it can, and what processes use.

pub mod desk;
pub mod session;
pub mod tls;
pub mod usage;

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Some of `all`, divided by commas in the environment; all of them where nothing is said.
///
/// # Errors
/// A word that is none of them.
pub fn list(name: &str, all: &[&str]) -> anyhow::Result<Vec<String>> {
    let Ok(text) = std::env::var(name) else { return Ok(all.iter().map(|&name| name.to_owned()).collect()) };
    let wanted: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
    for word in &wanted {
        anyhow::ensure!(all.contains(&word.as_str()), "{name}: {word} is none of {}", all.join(","));
    }
    Ok(wanted)
}

/// With three digits that mean something.
pub fn shown(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// The one in the middle; none of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
