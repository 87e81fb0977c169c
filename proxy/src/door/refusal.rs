//! What a client hears whose bytes do not reach the source.

use super::Move;
use super::line::announced;

pub(super) const TOO_LARGE: &[u8] = b"* BYE Too large before login.\r\n";

pub(super) fn too_long() -> Move {
    Move::Close(TOO_LARGE.to_vec(), "turned away: a line too long before a login")
}

pub(super) fn stray_bytes() -> Move {
    Move::Close(b"* BYE Stray CR or NUL in a line.\r\n".to_vec(), "turned away: stray CR or NUL in a line")
}

pub(super) fn too_many() -> Move {
    Move::Close(
        b"* BYE Too many refused logins, try again later.\r\n".to_vec(),
        "turned away: too many refused logins",
    )
}

/// Refuses a command; a literal that comes without being asked for ends the connection.
pub(super) fn refuse(tag: &[u8], line: &[u8], answer: &[u8]) -> Move {
    let answer = [tag, b" ", answer, b"\r\n"].concat();
    match announced(line) {
        Ok(None) => Move::Answer(line.len(), answer),
        Ok(Some(literal)) if literal.sync => Move::Answer(line.len(), answer),
        Ok(Some(_)) | Err(_) => Move::Close(
            [answer.as_slice(), b"* BYE Not here.\r\n"].concat(),
            "turned away: a literal behind what is no command here",
        ),
    }
}
