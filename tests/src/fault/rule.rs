//! Faults that a test orders from a relay.

/// What happens to a command that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The command never reaches the server; this follows its tag.
    Answer(String),
    /// As `Answer`, then `* BYE` with the second text and the connection ends.
    AnswerThenBye(String, String),
    /// The server carries it out, the client never hears of it: the connection ends in place of the answer.
    LoseAnswer,
    /// The connection ends before the command reaches the server.
    Cut,
    /// The server carries it out, but `[APPENDUID ...]` is taken out of its answer.
    ForgetAppendUid,
}

/// One order: the `skip + 1`st to `skip + times`th command with this verb suffers the fault.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Upper case, `UID FETCH` for UID commands.
    pub verb: String,
    /// How many matching commands pass before.
    pub skip: u64,
    /// How many suffer.
    pub times: u64,
    /// What they suffer.
    pub fault: Fault,
}

impl Rule {
    /// The next command with this verb.
    pub fn next(verb: &str, fault: Fault) -> Self {
        Self { verb: verb.to_owned(), skip: 0, times: 1, fault }
    }

    /// Every command with this verb from now on.
    pub fn every(verb: &str, fault: Fault) -> Self {
        Self { verb: verb.to_owned(), skip: 0, times: u64::MAX, fault }
    }

    /// Lets `skip` commands pass first.
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }
}

/// Exchange's throttling answer.
pub fn throttled(milliseconds: u64) -> Fault {
    Fault::AnswerThenBye(
        format!("BAD Request is throttled. Suggested Backoff Time: {milliseconds} milliseconds"),
        "Connection closed. 14".to_owned(),
    )
}

/// Takes the first fault that is due for a command and ages the rules.
pub fn due(rules: &mut Vec<Rule>, verb: &str) -> Option<Fault> {
    let mut found = None;
    for rule in rules.iter_mut().filter(|rule| rule.verb == verb) {
        if rule.skip > 0 {
            rule.skip -= 1;
        } else if found.is_none() && rule.times > 0 {
            rule.times = if rule.times == u64::MAX { u64::MAX } else { rule.times - 1 };
            found = Some(rule.fault.clone());
        }
    }
    rules.retain(|rule| rule.times > 0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_strikes_then_is_gone() {
        let mut rules = vec![Rule::next("APPEND", Fault::Cut).after(1)];
        assert_eq!(due(&mut rules, "NOOP"), None);
        assert_eq!(due(&mut rules, "APPEND"), None);
        assert_eq!(due(&mut rules, "APPEND"), Some(Fault::Cut));
        assert_eq!(due(&mut rules, "APPEND"), None);
        assert!(rules.is_empty());
    }
}
