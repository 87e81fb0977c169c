//! `batch plan` and `batch verify`: what would go, and what is there.

use crate::{
    failure::Failure,
    output::{self, Format, Table, bytes, length, number, printable},
};
use mailferry_sync::{
    batch::{BatchPlan, BatchVerification, MailboxProblem},
    fault::Fault,
    plan::MailboxPlan,
    verify::{VerifyReport, What},
};

/// How many skipped messages or differences of one mailbox a person is shown; `--json` has them all.
const SHOWN: usize = 20;

/// Of how many mailboxes a person is shown folders and skipped messages.
const DETAILED: usize = 20;

/// Shows a plan; mailboxes that could not be planned decide the exit code.
pub fn plan(plan: &BatchPlan, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(plan),
        Format::Human => output::say(&plan_text(plan)),
    }
    ended(&plan.problems, plan.mailboxes.len())
}

/// Shows a verification; differences, then mailboxes that could not be read, decide the exit code.
pub fn verification(found: &BatchVerification, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(found),
        Format::Human => output::say(&verification_text(found)),
    }
    if !found.mailboxes.iter().all(VerifyReport::agrees) {
        return Err(Failure::Said(Fault::Difference));
    }
    ended(&found.problems, found.mailboxes.len())?;
    if found.holds { Ok(()) } else { Err(Failure::Said(Fault::Partial)) }
}

/// All failed for the same reason: that is the reason. Some did: the rest is done.
fn ended(problems: &[MailboxProblem], good: usize) -> Result<(), Failure> {
    let Some(first) = problems.first() else { return Ok(()) };
    let alike = problems.iter().all(|problem| problem.fault == first.fault);
    Err(Failure::Said(if good == 0 && alike { first.fault } else { Fault::Partial }))
}

fn plan_text(plan: &BatchPlan) -> String {
    let mut table = Table::new(&[
        "MAILBOX",
        ">FOLDERS",
        ">MESSAGES",
        ">SIZE",
        ">MIRRORED",
        ">TO COPY",
        ">SIZE",
        ">TOO LARGE",
        ">OVER LIMIT",
        ">GIVEN UP",
    ]);
    for one in &plan.mailboxes {
        table.row([
            one.address.clone(),
            number(one.folders.iter().filter(|folder| folder.target.is_some()).count() as u64),
            number(one.messages),
            bytes(one.bytes),
            number(one.mirrored),
            number(one.to_copy),
            bytes(one.bytes_to_copy),
            number(one.too_large),
            number(one.over_item_limit),
            number(one.given_up),
        ]);
    }
    let mut text = table.text();
    for one in plan.mailboxes.iter().take(DETAILED) {
        text.push_str(&folders_text(one));
        text.push_str(&skipped_text(one));
    }
    if plan.mailboxes.len() > DETAILED {
        let more = number((plan.mailboxes.len() - DETAILED) as u64);
        text.push_str(&format!(
            "\n--json has the folders and skipped messages of the other {more} mailboxes too\n"
        ));
    }
    text.push_str(&problems_text(&plan.problems));
    text.push_str(&estimate_text(plan));
    text
}

fn estimate_text(plan: &BatchPlan) -> String {
    let messages: u64 = plan.mailboxes.iter().map(|one| one.to_copy).sum();
    let size: u64 = plan.mailboxes.iter().map(|one| one.bytes_to_copy).sum();
    if messages == 0 {
        return String::new();
    }
    let estimate = &plan.estimate;
    let speed = format!(
        "{:.0} messages and {} a second",
        estimate.messages_per_second,
        bytes(estimate.bytes_per_second as u64)
    );
    let told_from = match estimate.basis.as_str() {
        "measured" => format!("at the present {speed}"),
        _ => format!(
            "assumed: {speed} for each mailbox, {} at once; Office 365 decides",
            number(estimate.at_once.into())
        ),
    };
    format!(
        "\nabout {} for {} messages ({}) ({told_from})\n",
        length(estimate.seconds),
        number(messages),
        bytes(size),
    )
}

/// Only folders that do not simply keep their name are worth a line.
fn folders_text(plan: &MailboxPlan) -> String {
    let mut table = Table::new(&["FOLDER", "ON OFFICE 365", ">MESSAGES", "WHY"]);
    for folder in plan.folders.iter().filter(|folder| folder.target.as_ref() != Some(&folder.source)) {
        table.row([
            folder.source.clone(),
            folder.target.clone().unwrap_or_else(|| "(stays behind)".into()),
            number(folder.messages),
            folder.why.clone().unwrap_or_default(),
        ]);
    }
    if table.len() == 0 {
        return String::new();
    }
    format!("\n{}: folders under another name\n{}", printable(&plan.address), table.text())
}

fn skipped_text(plan: &MailboxPlan) -> String {
    if plan.skipped.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["FOLDER", ">UID", ">SIZE", "DATE", "REASON"]);
    for one in plan.skipped.iter().take(SHOWN) {
        table.row([
            one.folder.clone(),
            one.uid.to_string(),
            bytes(one.size),
            one.date.to_string(),
            one.reason.clone(),
        ]);
    }
    let all = plan.too_large + plan.over_item_limit;
    let more = all.saturating_sub(SHOWN as u64);
    let more = if more > 0 { format!("and {} more\n", number(more)) } else { String::new() };
    format!(
        "\n{}: {} messages would be skipped\n{}{more}",
        printable(&plan.address),
        number(all),
        table.text()
    )
}

fn verification_text(found: &BatchVerification) -> String {
    let mut table = Table::new(&[
        "MAILBOX",
        ">SOURCE",
        ">MATCHED",
        ">SKIPPED",
        ">PENDING",
        ">MISSING",
        ">MOVED",
        ">REPLACED",
        ">DOUBLED",
        ">ALTERED",
        ">DIFFERING",
        ">FOREIGN",
        "RESULT",
    ]);
    for one in &found.mailboxes {
        table.row([
            one.address.clone(),
            number(one.source),
            number(one.matched),
            number(one.skipped),
            number(one.pending),
            number(one.missing),
            number(one.moved),
            number(one.replaced),
            number(one.doubled),
            number(one.altered),
            number(one.differing),
            number(one.foreign),
            match (one.agrees(), one.holds()) {
                (false, _) => "DIFFERS".into(),
                (true, false) => "not copied yet".into(),
                (true, true) => "holds".into(),
            },
        ]);
    }
    let mut text = table.text();
    for one in &found.mailboxes {
        text.push_str(&differences_text(one));
        text.push_str(&read_text(one));
        for folder in &one.unopened {
            text.push_str(&format!("{}: the source lists {folder} and does not open it\n", one.address));
        }
    }
    text.push_str(&problems_text(&found.problems));
    text.push_str(&format!(
        "\n{}\n",
        if found.holds {
            "every source message is on Office 365 once, or listed as skipped"
        } else if found.problems.is_empty() && found.mailboxes.iter().all(VerifyReport::agrees) {
            "nothing differs, but not all is copied yet: the next pass does it"
        } else {
            "the two sides differ, or could not all be read"
        }
    ));
    text
}

fn differences_text(report: &VerifyReport) -> String {
    let mut table = Table::new(&["FOLDER", ">SOURCE UID", ">TARGET UID", "WHAT"]);
    let differences = report.folders.iter().flat_map(|folder| {
        folder.differences.iter().map(move |difference| (&folder.source_folder, difference))
    });
    let uid = |uid: Option<u32>| uid.map_or_else(|| "-".into(), |uid| uid.to_string());
    let mut all = 0;
    for (folder, difference) in differences {
        all += 1;
        if table.len() < SHOWN {
            let what: String = match difference.what {
                What::Missing => "missing on the target".into(),
                What::Moved => {
                    format!("moved to {}", difference.target_folder.as_deref().unwrap_or_default())
                }
                What::Replaced => "another one stands in place of the copy".into(),
                What::Doubled => "twice on the target".into(),
                What::Heading => "another sender, subject, date or Message-ID".into(),
                What::Content => "another text, or other attachments".into(),
                What::Bytes => "other bytes".into(),
                What::NotGiven => "the target does not give it".into(),
                What::Flags => "other flags".into(),
                What::Date => "another date of arrival".into(),
                What::Size => "another size".into(),
            };
            table.row([folder.clone(), uid(difference.source_uid), uid(difference.target_uid), what]);
        }
    }
    if all == 0 {
        return String::new();
    }
    let more =
        if all > SHOWN { format!("and {} more\n", number((all - SHOWN) as u64)) } else { String::new() };
    format!("\n{}\n{}{more}", printable(&report.address), table.text())
}

/// What reading the bodies told besides.
fn read_text(report: &VerifyReport) -> String {
    if report.read == 0 {
        return String::new();
    }
    let mut text = format!(
        "{}: {} bodies read on both sides, {} of them the same byte for byte\n",
        printable(&report.address),
        number(report.read),
        number(report.same_bytes)
    );
    if report.unclear > 0 {
        text.push_str(&format!(
            "{} are no proper MIME and read otherwise on both sides, which proves nothing\n",
            number(report.unclear)
        ));
    }
    text
}

fn problems_text(problems: &[MailboxProblem]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["COULD NOT BE READ", "WHY"]);
    for one in problems {
        table.row([one.address.clone(), one.error.clone()]);
    }
    format!("\n{}", table.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(fault: Fault) -> MailboxProblem {
        MailboxProblem { address: "a@b.c".into(), error: "x".into(), fault }
    }

    fn verification_of(missing: u64, problems: Vec<MailboxProblem>) -> BatchVerification {
        let report = VerifyReport {
            address: "t@c.edu".into(),
            source: 10,
            matched: 10 - missing,
            missing,
            ..VerifyReport::default()
        };
        BatchVerification {
            batch: "B".into(),
            holds: missing == 0 && problems.is_empty(),
            mailboxes: vec![report],
            problems,
        }
    }

    #[test]
    fn differences_end_with_6_and_unread_mailboxes_with_5_or_whose_fault_it_is() {
        let code = |found: &BatchVerification| {
            verification(found, Format::Json).map_or_else(|f| f.exit_code(), |()| 0)
        };
        assert_eq!(code(&verification_of(0, vec![])), 0);
        assert_eq!(code(&verification_of(1, vec![])), 6);
        assert_eq!(code(&verification_of(1, vec![problem(Fault::Source)])), 6);
        assert_eq!(code(&verification_of(0, vec![problem(Fault::Source)])), 5);
        assert_eq!(ended(&[problem(Fault::Source), problem(Fault::Source)], 0).unwrap_err().exit_code(), 2);
        assert_eq!(ended(&[problem(Fault::Target)], 0).unwrap_err().exit_code(), 3);
        assert_eq!(ended(&[problem(Fault::Throttled)], 0).unwrap_err().exit_code(), 75);
        assert_eq!(ended(&[problem(Fault::Source), problem(Fault::Target)], 0).unwrap_err().exit_code(), 5);
    }

    #[test]
    fn a_difference_is_named_in_words() {
        assert!(verification_text(&verification_of(1, vec![])).contains("DIFFERS"));
        assert!(
            verification_text(&verification_of(0, vec![]))
                .contains("every source message is on Office 365 once")
        );
    }
}
