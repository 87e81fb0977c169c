//! Logging in: LOGIN, AUTHENTICATE PLAIN and XOAUTH2. What is secret is overwritten once sent, and taken out of the
//! server's words should it echo them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

use super::{Error, Event, Session};
use crate::response::{Code, Response, StatusText};
use crate::token::quote;

/// Longer lines than this are not sent as an initial response.
const MAX_INITIAL: usize = 3_900;

impl Session {
    /// LOGIN.
    ///
    /// # Errors
    /// [`Error::Unsupported`] under LOGINDISABLED: then the password does not leave. [`Error::Refused`] where it was
    /// not accepted.
    pub async fn login(&mut self, user: &str, password: &SecretString) -> Result<(), Error> {
        if self.capabilities.has("LOGINDISABLED") {
            return Err(self.unsupported("LOGIN"));
        }
        let secret = password.expose_secret();
        let mut line = b"LOGIN ".to_vec();
        let plain = user.is_ascii() && secret.is_ascii();
        let quoted = plain && quote(user.as_bytes(), &mut line) && {
            line.push(b' ');
            quote(secret.as_bytes(), &mut line)
        };
        let (writer, reader) = (&mut self.writer, &mut self.reader);
        let tag = if quoted {
            let tag = writer.send_bytes(&line).await;
            line.fill(0);
            tag?
        } else {
            // Quoted strings are 7-bit (RFC 3501): literals, and their `+` must be heard meanwhile.
            let literals = [user.as_bytes(), secret.as_bytes()];
            let send = writer.send_literals("LOGIN", &literals);
            tokio::pin!(send);
            let mut heard = Vec::new();
            let tag = loop {
                tokio::select! {
                    biased;
                    tag = &mut send => break tag?,
                    // What comes before the answer is of no use, the answer is.
                    event = reader.next() => heard.extend(Some(event?).filter(|event| matches!(event, Event::Tagged { .. }))),
                }
            };
            heard.into_iter().rev().for_each(|event| reader.put_back(event));
            tag
        };
        self.writer.flush_secret().await?;
        let (answer, told) = self.login_answer(tag).await?;
        self.finish_login("LOGIN", answer, told, &[secret]).await
    }

    /// AUTHENTICATE PLAIN (RFC 4616); `authzid` is whose mailbox is opened, empty for one's own.
    ///
    /// # Errors
    /// As [`login`](Self::login).
    pub async fn authenticate_plain(
        &mut self,
        authzid: &str,
        user: &str,
        password: &SecretString,
    ) -> Result<(), Error> {
        if !self.capabilities.has("AUTH=PLAIN") {
            return Err(self.unsupported("AUTHENTICATE PLAIN"));
        }
        let secret = password.expose_secret();
        let message = SecretString::from(format!("{authzid}\0{user}\0{secret}"));
        self.authenticate("PLAIN", &message, secret).await
    }

    /// AUTHENTICATE XOAUTH2: the mailbox of `user` with an access token.
    ///
    /// # Errors
    /// As [`login`](Self::login).
    pub async fn authenticate_xoauth2(&mut self, user: &str, token: &SecretString) -> Result<(), Error> {
        if !self.capabilities.has("AUTH=XOAUTH2") {
            return Err(self.unsupported("AUTHENTICATE XOAUTH2"));
        }
        let secret = token.expose_secret();
        let message = SecretString::from(format!("user={user}\x01auth=Bearer {secret}\x01\x01"));
        self.authenticate("XOAUTH2", &message, secret).await
    }

    async fn authenticate(
        &mut self,
        mechanism: &'static str,
        message: &SecretString,
        secret: &str,
    ) -> Result<(), Error> {
        let command = match mechanism {
            "PLAIN" => "AUTHENTICATE PLAIN",
            _ => "AUTHENTICATE XOAUTH2",
        };
        let encoded = SecretString::from(BASE64.encode(message.expose_secret()));
        let initial = encoded.expose_secret();
        let at_once = self.capabilities.has("SASL-IR") && initial.len() + command.len() < MAX_INITIAL;
        let tag = if at_once {
            let line = SecretString::from(format!("{command} {initial}"));
            self.writer.send(line.expose_secret()).await?
        } else {
            self.writer.send(command).await?
        };
        self.writer.flush_secret().await?;

        let mut sent = at_once;
        let mut told = None;
        let mut complaint = None;
        let mut answer = loop {
            match self.reader.next().await? {
                Event::Tagged { tag: known, text } if known == tag => break text,
                Event::Continue(_) if !sent => {
                    sent = true;
                    self.writer.answer(initial.as_bytes()).await?;
                    self.writer.flush_secret().await?;
                }
                Event::Continue(challenge) => {
                    // XOAUTH2 tells what is wrong and waits for an empty line before it says NO.
                    complaint = BASE64.decode(&challenge).ok();
                    self.writer.answer(b"").await?;
                }
                Event::Untagged(Response::Capability(capabilities)) => told = Some(capabilities),
                _ => {}
            }
        };
        if let Some(complaint) = complaint {
            let complaint: String = String::from_utf8_lossy(&complaint).chars().take(200).collect();
            answer.text = format!("{} {complaint}", answer.text);
        }
        self.finish_login(command, answer, told, &[secret, initial]).await
    }

    async fn login_answer(
        &mut self,
        tag: super::Tag,
    ) -> Result<(StatusText, Option<crate::Capabilities>), Error> {
        let mut told = None;
        let answer = self
            .answer(tag, |response| {
                if let Response::Capability(capabilities) = response {
                    told = Some(capabilities);
                }
            })
            .await?;
        Ok((answer, told))
    }

    async fn finish_login(
        &mut self,
        command: &'static str,
        mut answer: StatusText,
        told: Option<crate::Capabilities>,
        secrets: &[&str],
    ) -> Result<(), Error> {
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            answer.text = answer.text.replace(secret, "[secret]");
        }
        let answer = self.accept(command, answer)?;
        debug!(server = %self.server, command, "Logged in.");
        // They often change with the login, and some servers tell the new ones.
        self.capabilities = match answer.code {
            Some(Code::Capability(capabilities)) => capabilities,
            _ => told.unwrap_or_default(),
        };
        self.learn_capabilities().await
    }
}
