//! `dns …`.

use super::{status::line, watch};
use crate::{
    args::{Dns, Global, Watch},
    client::Daemon,
    config::{self, Config},
    failure::Failure,
    output::{self, Format, Table, length, moment},
};
use indicatif::{ProgressBar, ProgressStyle};
use mailferry_admin::{
    problem::{Fault, Problem},
    shape::DomainStatus,
};
use mailferry_dnscheck::{Checker, Observation, Verdict};
use std::{fmt::Write as _, ops::ControlFlow};

pub async fn run(global: &Global, dns: Dns, format: Format) -> Result<(), Failure> {
    match dns {
        Dns::Check { domain } => check(global, &domain, format).await,
        Dns::Status(Watch { watch }) => status(global, watch.then_some(()), format).await,
    }
}

/// Asks by itself, so it works before there is a daemon; nothing is recorded.
async fn check(global: &Global, domains: &[String], format: Format) -> Result<(), Failure> {
    for domain in domains {
        if !plausible(domain) {
            return Err(Problem::usage(format!("{domain:?} is not a domain"))
                .next("such as contoso.edu")
                .into());
        }
    }
    let file = crate::config_file(global);
    let config = if global.config.is_some() || file.exists() {
        let config = Config::load(&file)?;
        config.dns
    } else {
        config::Dns::default()
    };
    let checker = Checker::new(config.checker());
    let bar = progress(domains.len() as u64);
    let observations = checker.check_each(domains, &config.old, |_| bar.inc(1)).await;
    bar.finish_and_clear();
    match format {
        Format::Json => output::json(&observations),
        Format::Human => {
            for observation in &observations {
                for line in observation.lines() {
                    output::say(&format!("{}\n", output::printable(&line)));
                }
            }
            if observations.len() > 1 {
                output::say(&summary(&observations));
            }
        }
    }
    // Said already, above; what could not be learnt may be learnt by asking again.
    if observations.iter().any(|observation| observation.verdict == Verdict::Unknown) {
        return Err(Failure::Said(Fault::Partial));
    }
    Ok(())
}

/// Goes to standard error, and only where that is a terminal; one domain is not worth a bar.
fn progress(domains: u64) -> ProgressBar {
    if domains < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(domains);
    // The template is ours and known to be good; the default would do as well.
    if let Ok(style) = ProgressStyle::with_template("{pos} of {len} domains [{bar:30}] {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// How many domains there are of each verdict, and which are open: among many they are hard to find.
fn summary(observations: &[Observation]) -> String {
    let all = [
        Verdict::Office365,
        Verdict::Filtered,
        Verdict::Mixed,
        Verdict::Source,
        Verdict::None,
        Verdict::Null,
        Verdict::Unknown,
    ];
    let of = |verdict| observations.iter().filter(move |one| one.verdict == verdict);
    let counts: Vec<String> = all
        .into_iter()
        .map(|verdict| (verdict, of(verdict).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    let mut text = format!("{} domains: {}\n", observations.len(), counts.join(", "));
    for verdict in [Verdict::Mixed, Verdict::Unknown] {
        let domains: Vec<&str> = of(verdict).map(|one| one.domain.as_str()).collect();
        if !domains.is_empty() {
            text.push_str(&format!("{verdict}: {}\n", output::printable(&domains.join(" "))));
        }
    }
    text
}

fn plausible(domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    !domain.is_empty()
        && domain.len() <= 253
        && domain.split('.').all(|label| (1..=63).contains(&label.len()))
        && !domain.chars().any(|c| c.is_whitespace() || c.is_control() || "@/:".contains(c))
}

async fn status(global: &Global, watch: Option<()>, format: Format) -> Result<(), Failure> {
    let daemon = Daemon::find(global)?;
    if watch.is_some() {
        return watch::run(async || {
            let domains: Vec<DomainStatus> = daemon.read("/v1/dns").await?;
            let text = match format {
                Format::Json => line(&domains),
                Format::Human => format!("{}{}", table(&domains).text(), timelines(&domains)),
            };
            Ok((text, ControlFlow::Continue(())))
        })
        .await;
    }
    let domains: Vec<DomainStatus> = daemon.read("/v1/dns").await?;
    match format {
        Format::Json => output::json(&domains),
        Format::Human => {
            output::say(&table(&domains).text());
            for domain in &domains {
                output::say(&format!("\n{}: {}\n", domain.domain, output::printable(&domain.reason)));
                let lines = domain.observation.as_ref().map(Observation::lines).unwrap_or_default();
                for line in lines.iter().skip(1) {
                    output::say(&format!("{}\n", output::printable(line)));
                }
            }
            output::say(&timelines(&domains));
        }
    }
    Ok(())
}

/// Domains, one a row.
pub fn table(domains: &[DomainStatus]) -> Table {
    let mut table = Table::new(&["DOMAIN", "VERDICT", "OBSERVED", "SINCE", "LEFT", "CONFIRMED"]);
    for one in domains {
        table.row([
            one.domain.clone(),
            one.verdict.clone().unwrap_or_else(|| "not looked at yet".into()),
            moment(one.observed),
            moment(one.since),
            match (one.confirmed, one.remaining_seconds) {
                (Some(_), _) | (None, None) => "-".into(),
                (None, Some(seconds)) => length(seconds.max(0).unsigned_abs()),
            },
            moment(one.confirmed),
        ]);
    }
    table
}

/// How many stretches of a domain are shown; `--json` has all.
const SHOWN: usize = 8;

/// What was seen of each domain, a line for each stretch during which nothing changed, the latest last.
fn timelines(domains: &[DomainStatus]) -> String {
    let mut text = String::new();
    for domain in domains {
        let earlier = domain.timeline.len().saturating_sub(SHOWN);
        let _ = writeln!(text, "\ntimeline of {}", domain.domain);
        if earlier > 0 {
            let _ = writeln!(text, "  ({earlier} earlier)");
        }
        for one in domain.timeline.iter().skip(earlier) {
            let looks = if one.looks == 1 { "look" } else { "looks" };
            let _ = writeln!(
                text,
                "  {} to {}  {:9} {:>5} {looks}  {}",
                moment(Some(one.from)),
                moment(Some(one.to)),
                one.verdict.to_string(),
                one.looks,
                output::printable(&one.says),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_counts_and_names_what_is_open() {
        let one = |domain: &str, verdict: &str| {
            serde_json::from_value::<Observation>(serde_json::json!({
                "domain": domain, "at": "2026-03-02T14:10:00Z", "answers": [], "verdict": verdict, "reasons": []
            }))
            .unwrap()
        };
        let seen = [
            one("a.edu", "office365"),
            one("b.edu", "unknown"),
            one("c.edu", "office365"),
            one("d.edu", "mixed"),
        ];
        assert_eq!(
            summary(&seen),
            "4 domains: 2 office365, 1 mixed, 1 unknown\nmixed: d.edu\nunknown: b.edu\n"
        );
    }

    #[test]
    fn addresses_and_names_with_blanks_are_no_domains() {
        for good in ["contoso.edu", "contoso.edu.", "a-b.example", "münchen.example"] {
            assert!(plausible(good), "{good}");
        }
        for bad in ["", "a@contoso.edu", "https://contoso.edu", "a b", "a..b", "."] {
            assert!(!plausible(bad), "{bad}");
        }
    }
}
