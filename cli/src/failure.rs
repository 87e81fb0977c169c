//! How a command ends: its exit code, and one clear message on standard error.

use crate::config::ConfigError;
use mailferry_admin::problem::{Fault, Problem};
use std::process::ExitCode;

/// A command's bad end.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong that is to be said.
    Problem(Problem),
    /// Everything has been said already; only the exit code is left.
    Said(Fault),
    /// Whoever read our output has enough of it.
    Quiet,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let file = error.file.display();
        let next = match error.file.exists() {
            true => format!("correct {file} and run `mailferry --config {file} serve --check`"),
            false => format!("`mailferry --config {file} init` makes one"),
        };
        Problem::usage(error.to_string()).next(next).into()
    }
}

impl Failure {
    /// The exit code of DESIGN's list.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Problem(problem) => problem.fault.exit_code(),
            Self::Said(fault) => fault.exit_code(),
            Self::Quiet => 0,
        }
    }

    /// Says what happened, and gives the exit code.
    pub fn report(self, format: super::output::Format) -> ExitCode {
        let code = self.exit_code();
        if let Self::Problem(problem) = &self {
            match format {
                super::output::Format::Json => {
                    eprintln!("{}", json(problem));
                }
                super::output::Format::Human => eprint!("{}", human(problem)),
            }
        }
        ExitCode::from(code)
    }
}

/// The daemon's own form, on one line.
fn json(problem: &Problem) -> String {
    // Strings and a JSON value always serialise.
    serde_json::to_string(problem).unwrap_or_else(|_| problem.error.clone())
}

fn human(problem: &Problem) -> String {
    let whose = match problem.fault {
        Fault::Usage => "",
        Fault::Source => "source: ",
        Fault::Target => "target: ",
        Fault::Gate => "gate: ",
        Fault::Partial => "partial: ",
        Fault::Difference => "differences: ",
        Fault::Local => "local: ",
        Fault::Throttled => "throttled: ",
    };
    let mut text = format!("mailferry: {whose}{}\n", problem.error.trim_end().replace('\n', "\n           "));
    if !problem.next.is_empty() {
        text.push_str(&format!("     next: {}\n", problem.next));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_message_says_whose_fault_and_what_next() {
        let problem = Problem::new(Fault::Source, "imap.contoso.com:993 refused the connection")
            .next("check server and port");
        expect![[r#"
            mailferry: source: imap.contoso.com:993 refused the connection
                 next: check server and port
        "#]]
        .assert_eq(&human(&problem));
        assert_eq!(Failure::from(problem).exit_code(), 2);
        assert_eq!(Failure::Said(Fault::Difference).exit_code(), 6);
    }
}
