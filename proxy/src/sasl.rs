//! The login name in a SASL exchange, where the mechanism shows it. The exchange itself is none of our business: it is
//! relayed step by step, whatever it is. Where passwords are learnt, the password too, of PLAIN and LOGIN only: the other
//! mechanisms show none, or a token that is soon worth nothing.
//!
//! Where a client asks to act as somebody else (an authzid that is not its authcid), no name is told: a source that
//! does not care for the authzid logs the authcid in, and which of the two it was is not to be seen. So it is with
//! OAUTHBEARER always: its only name is an authzid, and whose token it is only the source can tell. XOAUTH2's name is no
//! authzid but the account that the token must be for. Whose password was tried is told all the same, for the limits.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::learner::Learning;

/// What lies over the stream behind an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Layer {
    /// Nothing: lines go on.
    #[default]
    None,
    /// Whatever the two agreed on (RFC 4422 section 3.7).
    Unknown,
}

/// One exchange, as far as it was overheard.
#[derive(Debug)]
pub(crate) struct Sasl {
    mechanism: Mechanism,
    name: Option<String>,
    tried: Option<String>,
    responses: u32,
    learning: Learning,
    password: Option<SecretString>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mechanism {
    /// RFC 4616.
    Plain,
    /// `draft-murchison-sasl-login`: the name is the first answer.
    Login,
    /// `user=` and SOH.
    XOAuth2,
    /// RFC 7628. Its one name is an authzid.
    OAuthBearer,
    /// RFC 2195: name, space, digest.
    CramMd5,
    /// RFC 5802.
    Scram,
    /// GSSAPI, NTLM and the rest: the name is not to be seen.
    Opaque,
}

impl Mechanism {
    /// How often the client answers at most.
    fn responses(self) -> u32 {
        match self {
            Self::Plain | Self::XOAuth2 | Self::OAuthBearer | Self::CramMd5 => 1,
            Self::Login => 2,
            Self::Scram => 3,
            Self::Opaque => u32::MAX,
        }
    }
}

impl Sasl {
    pub(crate) fn new(mechanism: &[u8], learning: Learning) -> Self {
        let mechanism = mechanism.to_ascii_uppercase();
        let mechanism = match mechanism.as_slice() {
            b"PLAIN" => Mechanism::Plain,
            b"LOGIN" => Mechanism::Login,
            b"XOAUTH2" => Mechanism::XOAuth2,
            b"OAUTHBEARER" => Mechanism::OAuthBearer,
            b"CRAM-MD5" => Mechanism::CramMd5,
            name if name.starts_with(b"SCRAM-") => Mechanism::Scram,
            _ => Mechanism::Opaque,
        };
        Self { mechanism, name: None, tried: None, responses: 0, learning, password: None }
    }

    /// The client's answer (base64), the initial one among them.
    pub(crate) fn on_response(&mut self, response: &[u8]) {
        self.responses += 1;
        let learns = self.learning == Learning::On;
        match (self.responses, self.mechanism) {
            // Every mechanism that shows the name does so at first.
            (1, mechanism) => {
                let Some(clear) = decoded(response) else { return };
                if let Some(Names { name, tried }) = Names::read(mechanism, &clear) {
                    (self.name, self.tried) = (name.and_then(text), text(tried));
                }
                if learns && mechanism == Mechanism::Plain {
                    self.password = clear.splitn(3, |byte| *byte == 0).nth(2).and_then(password);
                }
            }
            (2, Mechanism::Login) if learns => {
                self.password = decoded(response).and_then(|clear| password(&clear));
            }
            // The source passed over the first answer, which named somebody else perhaps.
            (_, mechanism) if mechanism.responses() == 1 => {
                let names = decoded(response).and_then(|clear| Some(Names::read(mechanism, &clear)?.tried));
                self.tried = names.and_then(text);
            }
            (_, _) => {}
        }
    }

    /// Whose password was tried, as whomever.
    pub(crate) fn tried(&self) -> Option<String> {
        self.tried.clone()
    }

    /// What may lie over the stream when this was accepted.
    pub(crate) fn layer(&self) -> Layer {
        if self.mechanism == Mechanism::Opaque { Layer::Unknown } else { Layer::None }
    }

    /// The name, where it was seen and there is but one. None where the client answered more often than the mechanism asks:
    /// the source passed over the first answer.
    pub(crate) fn name(&self) -> Option<String> {
        self.name.clone().filter(|_| self.responses <= self.mechanism.responses())
    }

    /// The password, where it was seen and belongs to the name.
    pub(crate) fn into_password(self) -> Option<SecretString> {
        let has_name = self.name().is_some();
        self.password.filter(|_| has_name)
    }
}

fn decoded(response: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut clear = Zeroizing::new(vec![0; response.len()]);
    let length = STANDARD.decode_slice(response, &mut clear).ok()?;
    clear.truncate(length);
    Some(clear)
}

/// A password that can be sealed, and sent again by any mechanism.
pub(crate) fn password(clear: &[u8]) -> Option<SecretString> {
    let text = str::from_utf8(clear).ok()?;
    (!text.is_empty() && !text.contains(['\0', '\r', '\n'])).then(|| SecretString::from(text))
}

struct Names {
    /// Who is logged in, whatever the source makes of an authzid.
    name: Option<Vec<u8>>,
    /// Whose password it is.
    tried: Vec<u8>,
}

impl Names {
    fn read(mechanism: Mechanism, clear: &[u8]) -> Option<Self> {
        let same = |name: &[u8]| Self { name: Some(name.to_vec()), tried: name.to_vec() };
        Some(match mechanism {
            Mechanism::Plain => {
                let mut fields = clear.split(|byte| *byte == 0);
                let (authzid, authcid) = (fields.next()?, fields.next()?);
                fields.next()?;
                let name = only(Some(authzid).filter(|authzid| !authzid.is_empty()), authcid);
                Self { name: name.map(<[u8]>::to_vec), tried: authcid.to_vec() }
            }
            Mechanism::Login => same(clear),
            Mechanism::XOAuth2 => {
                let mut users =
                    clear.split(|byte| *byte == 1).filter_map(|field| field.strip_prefix(b"user="));
                same(users.next().filter(|_| users.next().is_none())?)
            }
            Mechanism::CramMd5 => same(&clear[..clear.iter().rposition(|byte| *byte == b' ')?]),
            Mechanism::Scram => {
                let mut fields = clear.split(|byte| *byte == b',').skip(1);
                fields.next().filter(|authzid| authzid.is_empty() || authzid.starts_with(b"a="))?;
                let tried = unescaped(fields.next()?.strip_prefix(b"n=")?);
                Self { name: only(authzid(clear).as_deref(), &tried).map(<[u8]>::to_vec), tried }
            }
            Mechanism::OAuthBearer | Mechanism::Opaque => return None,
        })
    }
}

fn text(name: Vec<u8>) -> Option<String> {
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

/// The name that is logged in, whatever the source makes of the authzid.
fn only<'a>(authzid: Option<&[u8]>, authcid: &'a [u8]) -> Option<&'a [u8]> {
    authzid.is_none_or(|authzid| authzid == authcid).then_some(authcid)
}

/// The `a=` of a GS2 header (RFC 5801): `n,a=user@example.com,`.
fn authzid(clear: &[u8]) -> Option<Vec<u8>> {
    let field = clear.split(|byte| *byte == b',').nth(1)?;
    field.strip_prefix(b"a=").map(unescaped)
}

/// `=2C` is a comma and `=3D` an equals sign.
fn unescaped(name: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(name).replace("=2C", ",").replace("=3D", "=").into_bytes()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn seen(mechanism: &str, responses: &[&str]) -> Option<String> {
        let mut sasl = Sasl::new(mechanism.as_bytes(), Learning::Off);
        responses.iter().for_each(|clear| sasl.on_response(STANDARD.encode(clear).as_bytes()));
        let name = sasl.name();
        assert!(sasl.into_password().is_none(), "nothing is kept where nothing is learnt");
        name
    }

    fn learned(mechanism: &str, responses: &[&str]) -> Option<String> {
        let mut sasl = Sasl::new(mechanism.as_bytes(), Learning::On);
        responses.iter().for_each(|clear| sasl.on_response(STANDARD.encode(clear).as_bytes()));
        assert!(!format!("{sasl:?}").contains("s3cret"), "{sasl:?}");
        sasl.into_password().map(|password| password.expose_secret().to_owned())
    }

    #[test]
    fn a_password_is_learnt_where_the_mechanism_shows_it_and_it_is_the_names_own() {
        for (mechanism, responses, password) in [
            ("PLAIN", vec!["\0ann\0s3cret"], Some("s3cret")),
            ("plain", vec!["ann\0ann\0s3cret"], Some("s3cret")),
            ("PLAIN", vec!["\0ann\0pässwörd"], Some("pässwörd")),
            ("LOGIN", vec!["ann", "s3cret"], Some("s3cret")),
            ("PLAIN", vec!["ann\0admin\0s3cret"], None),
            ("PLAIN", vec!["\0ann\0s3cret\0more"], None),
            ("PLAIN", vec!["\0ann\0"], None),
            ("PLAIN", vec!["\0\0s3cret"], None),
            ("PLAIN", vec!["\0ann"], None),
            ("LOGIN", vec!["ann"], None),
            ("LOGIN", vec!["", "s3cret"], None),
            ("LOGIN", vec!["ann", "s3c\nret"], None),
            ("XOAUTH2", vec!["user=ann\x01auth=Bearer s3cret\x01\x01"], None),
            ("OAUTHBEARER", vec!["n,a=ann,\x01auth=Bearer s3cret\x01\x01"], None),
            ("CRAM-MD5", vec!["ann s3cret"], None),
            ("SCRAM-SHA-256", vec!["n,,n=ann,r=s3cret", "c=biws,r=x,p=s3cret"], None),
            ("NTLM", vec!["ann", "s3cret"], None),
        ] {
            assert_eq!(learned(mechanism, &responses).as_deref(), password, "{mechanism} {responses:?}");
        }
        let mut latin1 = Sasl::new(b"PLAIN", Learning::On);
        latin1.on_response(STANDARD.encode(b"\0ann\0p\xE4ss").as_bytes());
        assert!(latin1.into_password().is_none());
    }

    #[test]
    fn the_name_is_read_where_it_shows() {
        let check = |mechanism, responses: &[&str], name: Option<&str>| {
            assert_eq!(seen(mechanism, responses).as_deref(), name, "{mechanism} {responses:?}");
        };
        check("plain", &["\0ann\0secret"], Some("ann"));
        check("PLAIN", &["ann\0ann\0secret"], Some("ann"));
        check("PLAIN", &["ann"], None);
        check("LOGIN", &["ann", "secret"], Some("ann"));
        check("XOAUTH2", &["user=ann@example.com\x01auth=Bearer t\x01\x01"], Some("ann@example.com"));
        check("CRAM-MD5", &["ann lee 0123456789abcdef"], Some("ann lee"));
        check("SCRAM-SHA-256", &["n,,n=ann=2Clee,r=nonce", "c=biws,r=x,p=y"], Some("ann,lee"));
        check("SCRAM-SHA-1", &["n,a=b=3Dob,n=b=3Dob,r=nonce"], Some("b=ob"));
        check("GSSAPI", &["whatever"], None);
        check("PLAIN", &[], None);
    }

    #[test]
    fn whoever_acts_as_somebody_else_has_no_name() {
        for (mechanism, response) in [
            ("PLAIN", "ann\0admin\0secret"),
            ("PLAIN", "ann\0Ann\0secret"),
            ("PLAIN", "ann\0\0secret"),
            ("SCRAM-SHA-1", "n,a=bob,n=admin,r=nonce"),
            ("SCRAM-SHA-256-PLUS", "p=tls-exporter,a=bob,n=bob=2C,r=nonce"),
            ("SCRAM-SHA-256", "n,a=bob,"),
            ("SCRAM-SHA-256", "n,n=bob,n=admin,r=nonce"),
            ("XOAUTH2", "user=ann\x01user=admin\x01auth=Bearer t\x01\x01"),
            ("OAUTHBEARER", "n,a=ann@example.com,\x01auth=Bearer t\x01\x01"),
        ] {
            assert_eq!(seen(mechanism, &[response]), None, "{mechanism} {response:?}");
        }
    }

    #[test]
    fn whose_password_was_tried_is_told_whoever_is_acted_as() {
        for (mechanism, responses, tried) in [
            ("PLAIN", vec!["\0ann\0secret"], Some("ann")),
            ("PLAIN", vec!["bob\0ann\0secret"], Some("ann")),
            ("PLAIN", vec!["\0bob\0secret", "\0ann\0secret"], Some("ann")),
            ("PLAIN", vec!["\0bob\0secret", "ann"], None),
            ("SCRAM-SHA-1", vec!["n,a=bob,n=ann,r=nonce", "c=biws,r=x,p=y"], Some("ann")),
            ("CRAM-MD5", vec!["ann 01"], Some("ann")),
            ("LOGIN", vec!["ann", "secret"], Some("ann")),
            ("LOGIN", vec!["ann", "bob", "secret"], Some("ann")),
            ("OAUTHBEARER", vec!["n,a=ann,\x01auth=Bearer t\x01\x01"], None),
            ("NTLM", vec!["ann"], None),
        ] {
            let mut sasl = Sasl::new(mechanism.as_bytes(), Learning::Off);
            responses.iter().for_each(|clear| sasl.on_response(STANDARD.encode(clear).as_bytes()));
            assert_eq!(sasl.tried().as_deref(), tried, "{mechanism} {responses:?}");
        }
    }

    #[test]
    fn an_initial_response_that_the_source_passed_over_tells_no_name() {
        assert_eq!(seen("PLAIN", &["\0ann\0x", "\0bob\0secret"]), None);
        assert_eq!(seen("LOGIN", &["ann", "bob", "secret"]), None);
        assert_eq!(seen("CRAM-MD5", &["ann 01", "bob 23"]), None);
    }
}
