//! What the daemon asks of the machine: many open files, and systemd's ear.

use rustix::{
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
        SocketType, sendmsg_addr, socket_with,
    },
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{io, io::IoSlice, mem::MaybeUninit, os::fd::BorrowedFd};
use tracing::warn;

/// For the ledger, the admin side, the sync: beside what clients need.
const OWN: u64 = 1024;

/// Room for the control message of a few descriptors.
const FEW_DESCRIPTORS: usize = 4;

/// Raises the limit of open files to what the machine allows. Says what to do when that is too little for so many
/// clients, each of which needs two: its own connection and one to the source.
pub fn raise_open_files(clients: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit at all.
    let (before, allowed) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let now = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => allowed,
        Err(_) => before,
    };
    if let Some((wanted, fits)) = too_few(now, clients) {
        warn!(
            limit = now,
            wanted,
            "{clients} clients (proxy.limits.max_connections) need {wanted} descriptors and the system allows {now}, enough for {fits}: \
             set LimitNOFILE={wanted} in the unit (or ulimit -n), or lower max_connections."
        );
    }
}

/// How many descriptors are wanted for so many clients, and for how many clients the limit is enough; `None` where it is
/// enough for all.
fn too_few(limit: u64, clients: usize) -> Option<(u64, u64)> {
    let wanted = (clients as u64).saturating_mul(2).saturating_add(OWN);
    (limit < wanted).then(|| (wanted, limit.saturating_sub(OWN) / 2))
}

/// Tells systemd (`READY=1`, `STOPPING=1`, …), with descriptors to keep, when it wants to know (`NOTIFY_SOCKET`).
pub fn tell_systemd(state: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(path.as_str()),
    }?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FEW_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors at once"));
    }
    sendmsg_addr(&socket, &address, &[IoSlice::new(state.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_descriptors_a_client_and_some() {
        assert_eq!(too_few(524_288, 20_000), None);
        assert_eq!(too_few(41_024, 20_000), None);
        assert_eq!(too_few(41_023, 20_000), Some((41_024, 19_999)));
        assert_eq!(too_few(4096, 20_000), Some((41_024, 1536)));
        assert_eq!(too_few(100, 1), Some((1026, 0)));
    }
}
