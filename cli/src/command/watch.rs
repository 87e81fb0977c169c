//! Showing something again and again until Ctrl-C: redrawn in place on a terminal, a new block or line elsewhere.

use crate::{failure::Failure, output};
use std::{ops::ControlFlow, time::Duration};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is printed where nothing can be redrawn.
const PLAIN_EVERY: u32 = 5;

/// Calls `look` once a second and shows what it gives, until it says that nothing more will come, or Ctrl-C.
pub async fn run(
    mut look: impl AsyncFnMut() -> Result<(String, ControlFlow<()>), Failure>,
) -> Result<(), Failure> {
    let terminal = output::terminal();
    let mut drawn = 0;
    let mut last = String::new();
    let mut turn = 0;
    loop {
        let (text, flow) = look().await?;
        let ends = flow == ControlFlow::Break(());
        if terminal {
            // Up to where the last block began, and clear from there.
            let up = if drawn > 0 { format!("\x1b[{drawn}A\x1b[J") } else { String::new() };
            drawn = text.lines().count();
            output::say(&format!("{up}{text}"));
        } else if (turn % PLAIN_EVERY == 0 || ends) && text != last {
            output::say(&text);
            last = text;
        }
        if ends {
            return Ok(());
        }
        turn += 1;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}
