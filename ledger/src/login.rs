//! By which names a mailbox's user may log in.
//!
//! A name that is taken for the wrong mailbox carries one person's mail into another's, so a row has no more names than
//! what it says allows for: its own spelling first, and what follows from it last ([`Strength::Derived`]), which is
//! good for looking on and not for keeping a password.

use crate::record::Mailbox;

/// How much a login name says about the mailbox: the strongest match counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Strength {
    /// `ClientLogin`.
    ClientLogin = 0,
    /// The user in `UserName` or `UserRoot`.
    UserName = 1,
    /// `EmailAddress`.
    Address = 2,
    /// Spelled nowhere in the row: the user with the address's domain, or a user's name without its domain.
    Derived = 3,
}

/// A mailbox found by a login name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Whose login it is.
    pub mailbox: Mailbox,
    /// How it was found.
    pub by: Strength,
}

/// What a `UserName` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserName {
    /// The user's own login: its password is the user's.
    Own,
    /// An administrator's, in any form.
    Admin,
}

impl Mailbox {
    /// What its `UserName` is at a source with this separator of administrators.
    pub fn user_name_is(&self, separator: char) -> UserName {
        if self.user_root.is_some() { UserName::Admin } else { read(&self.user_name, separator).0 }
    }
}

/// All names, in any case as they were given. `ClientLogin`, where it is given, is the only one.
pub(crate) fn logins(mailbox: &Mailbox, separator: char) -> Vec<(Strength, String)> {
    if let Some(login) = &mailbox.client_login {
        return vec![(Strength::ClientLogin, login.clone())];
    }
    let users = match &mailbox.user_root {
        // The login is an administrator's; the user shows in the path, if anywhere.
        Some(root) => {
            root.rsplit('/').find(|level| !level.is_empty()).into_iter().map(str::to_owned).collect()
        }
        None => read(&mailbox.user_name, separator).1,
    };
    let (local, domain) = mailbox.address.rsplit_once('@').unwrap_or((&mailbox.address, ""));
    let mut derived = Vec::new();
    for user in &users {
        match user.rsplit_once('@') {
            Some((user, _)) => derived.push(user.to_owned()),
            None if user.contains(['/', '\\']) || domain.is_empty() => {}
            // Many sources take both.
            None => derived.push(format!("{user}@{domain}")),
        }
    }
    if mailbox.user_root.is_some() {
        // The path's last level need not be a name. Elsewhere `UserName` tells what the source calls the user, and
        // a bare name that is another one is another user's.
        derived.push(local.to_owned());
    }
    let mut logins: Vec<_> = users.into_iter().map(|user| (Strength::UserName, user)).collect();
    logins.push((Strength::Address, mailbox.address.clone()));
    logins.extend(derived.into_iter().map(|login| (Strength::Derived, login)));
    logins.retain(|(_, login)| !login.is_empty());
    logins
}

/// The user and the administrator in a `UserName` of the form `User*Admin`.
pub fn user_and_admin(user_name: &str, separator: char) -> Option<(&str, &str)> {
    let (user, admin) = user_name.split_once(separator)?;
    (!user.is_empty() && !admin.is_empty()).then_some((user, admin))
}

/// What a `UserName` is, and the user in it: `user`, `Domain/Admin/User` (Exchange, with either slash), `User*Admin`
/// (Dovecot and others, with any separator), `#user@domain#Admin#` (Mirapoint). `Domain/User` and `Domain\User` are names by
/// which the user may log in with either slash, or without the domain.
fn read(user_name: &str, separator: char) -> (UserName, Vec<String>) {
    if let Some((user, _)) = user_name.strip_prefix('#').and_then(|rest| rest.split_once('#')) {
        return (UserName::Admin, vec![user.to_owned()]);
    }
    if let Some((user, _)) = user_name.split_once(separator) {
        return (UserName::Admin, vec![user.to_owned()]);
    }
    let levels: Vec<&str> = user_name.split(['/', '\\']).collect();
    let of_domain =
        |domain, user: &str| vec![format!("{domain}\\{user}"), format!("{domain}/{user}"), user.to_owned()];
    match levels.as_slice() {
        [domain, _, user] => (UserName::Admin, of_domain(domain, user)),
        [domain, user] => (UserName::Own, of_domain(domain, user)),
        _ => (UserName::Own, vec![user_name.to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_in_every_form_of_user_name() {
        let exchange = |domain: &str, user: &str| {
            vec![format!("{domain}\\{user}"), format!("{domain}/{user}"), user.to_owned()]
        };
        let one = |user: &str| vec![user.to_owned()];
        for (user_name, separator, kind, users) in [
            ("terry.adams", '*', UserName::Own, one("terry.adams")),
            ("terry.adams@contoso.edu", '*', UserName::Own, one("terry.adams@contoso.edu")),
            (
                "contoso-students/mailadmin/terry.adams",
                '*',
                UserName::Admin,
                exchange("contoso-students", "terry.adams"),
            ),
            ("CONTOSO\\mailadmin\\terry", '*', UserName::Admin, exchange("CONTOSO", "terry")),
            ("terry.adams*mailadmin", '*', UserName::Admin, one("terry.adams")),
            ("terry.adams%mailadmin", '%', UserName::Admin, one("terry.adams")),
            ("terry.adams%mailadmin", '*', UserName::Own, one("terry.adams%mailadmin")),
            ("terry*adams", '%', UserName::Own, one("terry*adams")),
            (
                "#terry.adams@contoso-students.edu#mailadmin#",
                '*',
                UserName::Admin,
                one("terry.adams@contoso-students.edu"),
            ),
            ("CONTOSO\\terry", '*', UserName::Own, exchange("CONTOSO", "terry")),
            ("a/b/c/d", '*', UserName::Own, one("a/b/c/d")),
            ("#odd", '*', UserName::Own, one("#odd")),
        ] {
            assert_eq!(read(user_name, separator), (kind, users), "{user_name}");
        }
    }
}
