//! A session's place in the house: what it takes of the limits, and gives back however it ends.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::book::Page;
use crate::listener::Shared;

/// See the module.
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
    pub(crate) page: Arc<Page>,
    address_taken: bool,
    login: Option<String>,
    tries: bool,
}

impl Place {
    /// A place among all connections, if one is left.
    pub(crate) fn enter(shared: &Arc<Shared>, peer: SocketAddr) -> Option<Self> {
        let welcome = shared.admission().enter();
        welcome.then(|| Self {
            shared: shared.clone(),
            page: shared.book.open(peer),
            address_taken: false,
            login: None,
            tries: false,
        })
    }

    /// One among those of the client's address. To be asked once, when the address is known.
    pub(crate) fn take_address(&mut self) -> bool {
        self.address_taken = self.shared.admission().take_address(self.page.client().ip());
        self.address_taken
    }

    /// One among those of the login. To be asked once.
    pub(crate) fn take_login(&mut self, login: &str) -> bool {
        let welcome = self.shared.admission().take_login(login);
        if welcome {
            self.login = Some(login.to_owned());
        }
        welcome
    }

    /// The source is asked about a login, or no more.
    pub(crate) fn set_trying(&mut self, tries: Trying) {
        let tries = tries == Trying::Yes;
        if tries == self.tries {
            return;
        }
        self.tries = tries;
        let (address, mut admission) = (self.page.client().ip(), self.shared.admission());
        if tries { admission.begin_login(address) } else { admission.end_login(address) }
    }
}

/// Whether the source is asked about a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trying {
    Yes,
    No,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.set_trying(Trying::No);
        self.shared.book.close(&self.page);
        let mut admission = self.shared.admission();
        admission.leave();
        if self.address_taken {
            admission.release_address(self.page.client().ip());
        }
        if let Some(login) = &self.login {
            admission.release_login(login);
        }
    }
}
