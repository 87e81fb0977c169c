//! Folders as the sync knows them, however the session writes them.

use super::*;

/// The wire form of every folder that is told.
fn folders(transcript: &str) -> Vec<String> {
    let mut tap = Tap::new(MailboxId(1));
    for (side, text) in lines(transcript) {
        if side == 'C' { tap.on_client(text.into()) } else { tap.on_server(text.into()) }
    }
    tap.on_end();
    let wire = |folder: &FolderName| String::from_utf8_lossy(folder.wire()).into_owned();
    let told = |observed: Observed| match observed {
        Observed::Begin { key, .. } => key.iter().map(|key| wire(&key.folder)).collect(),
        Observed::End(_, key, _) => vec![wire(&key.folder)],
        Observed::Transferred { from, to, .. } => vec![wire(&from.folder), wire(&to.folder)],
        Observed::FolderChanged(folder) => vec![wire(&folder)],
        Observed::Chunk(..) | Observed::Discard(_) | Observed::FoldersChanged | Observed::Blind(_) => vec![],
    };
    tap.take().into_iter().flat_map(told).collect()
}

#[test]
fn plain_utf8_is_told_in_modified_utf7_once_it_was_enabled() {
    let session = "
        C: a1 ENABLE UTF8=ACCEPT CONDSTORE
        C: a2 SELECT \"Entwürfe & R&D\"
        S: * ENABLED {enabled}
        S: a1 OK enabled
        S: * 9 EXISTS
        S: * OK [UIDVALIDITY 7] ok
        S: a2 OK selected
        C: a3 FETCH 9 (UID BODY.PEEK[])
        S: * 9 FETCH (UID 4 BODY[] {3}
        S: abc)
        S: a3 OK fetched
        C: a4 UID COPY 4 Mülleimer
        S: a4 OK [COPYUID 8 4 1] copied
        C: a5 STORE 9 +FLAGS (\\Seen)
        S: a5 OK stored
    ";
    let told = |enabled: &str| {
        let mut told = folders(&session.replace("{enabled}", enabled));
        told.dedup();
        told
    };
    let (here, there) = ("Entw&APw-rfe &- R&-D", "M&APw-lleimer");
    for enabled in ["UTF8=ACCEPT", "condstore utf8=accept", "IMAP4rev2"] {
        let told = told(enabled);
        assert!(told.iter().all(|folder| folder == here || folder == there), "{told:?}");
        assert!(told.iter().any(|folder| folder == here) && told.iter().any(|folder| folder == there));
    }
    // Asked for, and not enabled: some servers have names of any bytes.
    assert!(
        told("CONDSTORE").iter().all(|folder| folder.starts_with("Entwürfe & R&D") || folder == "Mülleimer")
    );
}
