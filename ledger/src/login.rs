//! By which names a mailbox's user may log in.

use crate::record::Mailbox;

/// How much a login name says about the mailbox: the strongest match counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Strength {
    ClientLogin = 0,
    UserName = 1,
    Address = 2,
    LocalPart = 3,
}

/// All names, in any case as they were given. `ClientLogin`, where it is given, is the only one.
pub(crate) fn logins(mailbox: &Mailbox) -> Vec<(Strength, String)> {
    if let Some(login) = &mailbox.client_login {
        return vec![(Strength::ClientLogin, login.clone())];
    }
    let user = match &mailbox.user_root {
        // The login is an administrator's; the user shows in the path, if anywhere.
        Some(root) => root.rsplit('/').find(|level| !level.is_empty()).into_iter().collect(),
        None => user_part(&mailbox.user_name),
    };
    let mut logins: Vec<_> = user.into_iter().map(|user| (Strength::UserName, user.to_owned())).collect();
    logins.push((Strength::Address, mailbox.address.clone()));
    if let Some((local, _)) = mailbox.address.rsplit_once('@') {
        logins.push((Strength::LocalPart, local.to_owned()));
    }
    logins.retain(|(_, login)| !login.is_empty());
    logins
}

/// The user in a `UserName` of any of the forms that administrators use: `user`, `Domain/Admin/User` (Exchange),
/// `User*Admin` (Dovecot and others), `#user@domain#Admin#` (Mirapoint). `Domain/User` and `Domain\User` are names by
/// which the user may log in as they stand, or without the domain.
fn user_part(user_name: &str) -> Vec<&str> {
    if let Some((user, _)) = user_name.strip_prefix('#').and_then(|rest| rest.split_once('#')) {
        return vec![user];
    }
    if let Some((user, _)) = user_name.split_once('*') {
        return vec![user];
    }
    let levels: Vec<&str> = user_name.split(['/', '\\']).collect();
    match levels.as_slice() {
        [_, _, user] => vec![user],
        [_, user] => vec![user_name, user],
        _ => vec![user_name],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_in_every_form_of_user_name() {
        for (user_name, users) in [
            ("terry.adams", vec!["terry.adams"]),
            ("contoso-students/mailadmin/terry.adams", vec!["terry.adams"]),
            ("terry.adams*mailadmin", vec!["terry.adams"]),
            ("#terry.adams@contoso-students.edu#mailadmin#", vec!["terry.adams@contoso-students.edu"]),
            ("CONTOSO\\terry", vec!["CONTOSO\\terry", "terry"]),
            ("a/b/c/d", vec!["a/b/c/d"]),
            ("#odd", vec!["#odd"]),
        ] {
            assert_eq!(user_part(user_name), users, "{user_name}");
        }
    }
}
