//! The two sessions of a worker: how they are opened, and what is remembered about them.

use jiff::Timestamp;
use mailferry_imap::net::{self, Selected, Session};
use mailferry_imap::response::{Listed, Namespaces};
use mailferry_imap::{FolderName, Uid, UidSet, UidValidity};
use mailferry_ledger::{Folder, Learned, Mailbox};
use secrecy::SecretString;

use crate::context::WorkerContext;
use crate::credentials::{self, Awaits, Identity, Known, Pick, Refusal};
use crate::error::{LocalError, SideError};
use crate::pace::{Meaning, meaning};
use crate::tenant::Place;
use crate::token::Token;
use crate::trouble::Trouble;

/// How many refused APPENDs a target session may see; Exchange closes at about ten.
pub(crate) const MAX_REFUSALS: u32 = 8;

/// How long before its end a token is no longer used for new work.
const TOKEN_MARGIN_SECONDS: i64 = 120;

/// The session at the source. It only ever looks (EXAMINE, BODY.PEEK).
pub(crate) struct Source {
    pub(crate) session: Session,
    examined: Option<(FolderName, UidValidity)>,
}

impl Source {
    /// Connects and logs in: with what the CSV file gives, or with what was learnt.
    pub(crate) async fn open(context: &WorkerContext, mailbox: &Mailbox) -> Result<Self, Trouble> {
        let ledger = &context.ledger;
        let known = Known::of(ledger, mailbox)?;
        let learned = match known.pick() {
            Pick::Given => match Self::open_given(context, mailbox, known.identity()).await {
                Err((_, Some(Refusal::Wrong))) if known.has_substitute() => {
                    credentials::note_given_refused(ledger, mailbox).await?;
                    match Known::of(ledger, mailbox)?.pick() {
                        Pick::Learned(learned) => learned,
                        Pick::Given | Pick::Awaits(_) | Pick::Nothing => {
                            return Err(Trouble::Local(LocalError::NoPassword));
                        }
                    }
                }
                opened => return opened.map_err(|(trouble, _)| trouble),
            },
            Pick::Learned(learned) => learned,
            Pick::Awaits(awaits) => return Err(Trouble::Local(LocalError::AwaitsLogin(awaits))),
            Pick::Nothing => return Err(Trouble::Local(LocalError::NoPassword)),
        };
        match Self::open_learned(context, mailbox, &learned).await {
            Err((_, Some(Refusal::Wrong))) => {
                credentials::note_refused(ledger, &learned).await?;
                Err(Trouble::Local(LocalError::AwaitsLogin(Awaits::Newer(learned.at))))
            }
            opened => opened.map_err(|(trouble, _)| trouble),
        }
    }

    /// One more session, logged in as the first one was. Whatever is refused is no news about the password: servers have
    /// many words for "too many connections".
    pub(crate) async fn open_another(context: &WorkerContext, mailbox: &Mailbox) -> Result<Self, Trouble> {
        let known = Known::of(&context.ledger, mailbox)?;
        let opened = match known.pick() {
            Pick::Given => Self::open_given(context, mailbox, known.identity()).await,
            Pick::Learned(learned) => Self::open_learned(context, mailbox, &learned).await,
            Pick::Awaits(_) | Pick::Nothing => return Err(Trouble::Local(LocalError::NoPassword)),
        };
        opened.map_err(|(trouble, _)| trouble)
    }

    async fn open_learned(
        context: &WorkerContext,
        mailbox: &Mailbox,
        learned: &Learned,
    ) -> Result<Self, (Trouble, Option<Refusal>)> {
        let purpose = Learned::sealed_for(&mailbox.address, &learned.login);
        let password =
            context.vault.open(&learned.password, &purpose).map_err(|error| (error.into(), None))?;
        Self::open_as(context, "", &learned.login, &password).await
    }

    async fn open_given(
        context: &WorkerContext,
        mailbox: &Mailbox,
        identity: Option<&Identity>,
    ) -> Result<Self, (Trouble, Option<Refusal>)> {
        let open = || -> Result<SecretString, Trouble> {
            let sealed = mailbox.password.as_ref().ok_or(Trouble::Local(LocalError::NoPassword))?;
            Ok(context.vault.open(sealed, &mailbox.address.to_lowercase())?)
        };
        let password = open().map_err(|trouble| (trouble, None))?;
        match identity {
            Some(identity) => Self::open_as(context, &identity.user, &identity.admin, &password).await,
            None => Self::open_as(context, "", &mailbox.user_name, &password).await,
        }
    }

    /// One attempt; what a refusal says about the password is told with it. With an `authzid`, `user` opens that one's mailbox.
    async fn open_as(
        context: &WorkerContext,
        authzid: &str,
        user: &str,
        password: &SecretString,
    ) -> Result<Self, (Trouble, Option<Refusal>)> {
        let access = &context.source;
        let mut session = net::connect(&access.server, &access.tls, context.patience.connect)
            .await
            .map_err(|error| (Trouble::source(error), None))?;
        let plain_only = session.capabilities().has("LOGINDISABLED") || !user.is_ascii();
        let plain = plain_only && session.capabilities().has("AUTH=PLAIN");
        let login = match plain || !authzid.is_empty() {
            true => session.authenticate_plain(authzid, user, password).await,
            false => session.login(user, password).await,
        };
        login.map_err(|error| {
            let refusal = Refusal::of(&error);
            let trouble = match (error, refusal) {
                (net::Error::Refused { text, .. }, Some(Refusal::Passing)) => {
                    Trouble::Source(SideError::Other(text))
                }
                (net::Error::Refused { text, .. }, _) => Trouble::Source(SideError::Login(text)),
                (other, _) => Trouble::source(other),
            };
            (trouble, refusal)
        })?;
        Ok(Self { session, examined: None })
    }

    /// Opens a folder read-only.
    pub(crate) async fn examine(&mut self, folder: &FolderName) -> Result<Selected, Trouble> {
        self.examined = None;
        let selected = self.session.examine(folder).await.map_err(Trouble::source)?;
        self.examined = Some((folder.clone(), selected.uid_validity));
        Ok(selected)
    }

    /// Makes sure that a folder is the open one, and no other one that has its name by now: UIDs mean nothing there.
    pub(crate) async fn be_in(&mut self, folder: &Folder) -> Result<(), Trouble> {
        let wanted = (&folder.source, folder.source_validity);
        if self.examined.as_ref().is_some_and(|(name, validity)| (name, *validity) == wanted) {
            return Ok(());
        }
        match self.examine(&folder.source).await?.uid_validity == folder.source_validity {
            true => Ok(()),
            false => Err(Trouble::Replaced),
        }
    }

    /// Leaves the open folder. STATUS of an open one tells what the session saw last, not what is there (Dovecot; RFC
    /// 3501 section 6.3.10 warns of it).
    pub(crate) async fn leave(&mut self) -> Result<(), Trouble> {
        if self.examined.take().is_none() {
            return Ok(());
        }
        // CLOSE expunges nothing in a folder that was opened by EXAMINE.
        let verb = if self.session.capabilities().has("UNSELECT") { "UNSELECT" } else { "CLOSE" };
        self.session.command(verb, "").await.map(drop).map_err(Trouble::source)
    }

    /// The namespaces; none where the server does not know the command or refuses it.
    pub(crate) async fn namespaces(&mut self) -> Result<Namespaces, Trouble> {
        if !self.session.capabilities().has("NAMESPACE") {
            return Ok(Namespaces::default());
        }
        match self.session.namespace().await {
            Ok(namespaces) => Ok(namespaces),
            Err(error) if !error.is_fatal() => Ok(Namespaces::default()),
            Err(error) => Err(Trouble::source(error)),
        }
    }
}

/// The session at the target.
pub(crate) struct Target {
    pub(crate) session: Session,
    pub(crate) token: Token,
    pub(crate) refusals: u32,
    /// Ours as long as the session is open.
    pub(crate) place: Place,
    selected: Option<(FolderName, Selected)>,
}

impl Target {
    /// Connects and logs in with a token; a cached one that is refused is tried anew once.
    pub(crate) async fn open(
        context: &WorkerContext,
        mailbox: &Mailbox,
        place: Place,
    ) -> Result<Self, Trouble> {
        let access = &context.target;
        let token = access.tokens.token().await.map_err(|error| Trouble::Target(SideError::Token(error)))?;
        let opened = match Self::open_with(context, mailbox, &token).await {
            Err(Trouble::Target(SideError::Login(text))) => {
                access.tokens.discard(&token);
                let fresh = access.tokens.token().await;
                let fresh = fresh.map_err(|error| Trouble::Target(SideError::Token(error)))?;
                let same = {
                    use secrecy::ExposeSecret;
                    fresh.secret.expose_secret() == token.secret.expose_secret()
                };
                if same {
                    return Err(Trouble::Target(SideError::Login(text)));
                }
                Self::open_with(context, mailbox, &fresh).await.map(|session| (session, fresh))
            }
            other => other.map(|session| (session, token)),
        };
        let (session, token) = opened?;
        context.target.tenant.on_connected(mailbox.id);
        Ok(Self { session, token, refusals: 0, place, selected: None })
    }

    async fn open_with(
        context: &WorkerContext,
        mailbox: &Mailbox,
        token: &Token,
    ) -> Result<Session, Trouble> {
        let access = &context.target;
        let mut session = net::connect(&access.server, &access.tls, context.patience.connect)
            .await
            .map_err(Trouble::target)?;
        let login = session.authenticate_xoauth2(&mailbox.address, &token.secret).await;
        login.map_err(|error| match error {
            net::Error::Refused { code, text, .. } => match meaning(code.as_ref(), &text) {
                Meaning::Throttled(stated) => Trouble::Throttled { stated, text },
                Meaning::Unavailable => Trouble::Target(SideError::Other(text)),
                Meaning::TokenExpired
                | Meaning::Full
                | Meaning::NoFolder
                | Meaning::TooLarge
                | Meaning::Item => Trouble::Target(SideError::Login(text)),
            },
            other => Trouble::target(other),
        })?;
        // The OK is no proof: "User is authenticated but not connected" comes with the first command.
        match session.namespace().await {
            Ok(_) => {}
            Err(net::Error::Refused { code, text, .. }) if meaning(code.as_ref(), &text) == Meaning::Item => {
            }
            Err(error) => return Err(Trouble::target(error)),
        }
        Ok(session)
    }

    /// Whether the session should be left for a new one before more work begins.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        self.refusals >= MAX_REFUSALS
            || self.token.expires.as_second() - now.as_second() < TOKEN_MARGIN_SECONDS
    }

    /// Opens a folder for writing, unless it is open.
    pub(crate) async fn select(&mut self, folder: &FolderName) -> Result<Selected, Trouble> {
        if let Some((open, selected)) = &self.selected
            && open == folder
        {
            return Ok(selected.clone());
        }
        self.selected = None;
        let selected = self.session.select(folder).await.map_err(Trouble::target)?;
        self.selected = Some((folder.clone(), selected.clone()));
        Ok(selected)
    }

    /// Opens a folder anew, so that what others did there is seen.
    pub(crate) async fn select_anew(&mut self, folder: &FolderName) -> Result<Selected, Trouble> {
        self.selected = None;
        self.select(folder).await
    }

    /// Leaves the open folder: servers end a session whose folder is deleted or renamed.
    pub(crate) async fn leave(&mut self) -> Result<(), Trouble> {
        if self.selected.take().is_none() || !self.session.capabilities().has("UNSELECT") {
            return Ok(());
        }
        self.session.command("UNSELECT", "").await.map(drop).map_err(Trouble::target)
    }

    /// Another folder was opened behind our back.
    pub(crate) fn forget_selected(&mut self) {
        self.selected = None;
    }

    /// All folders.
    pub(crate) async fn list(&mut self) -> Result<Vec<Listed>, Trouble> {
        let root = FolderName::from_wire(&b""[..]);
        self.session.list(&root, "*").await.map_err(Trouble::target)
    }
}

/// All UIDs from this one on.
pub(crate) fn from_uid(first: u32) -> UidSet {
    let mut set = UidSet::new();
    if let (Some(first), Some(last)) = (Uid::new(first.max(1)), Uid::new(u32::MAX)) {
        set.insert_range(first, last);
    }
    set
}
