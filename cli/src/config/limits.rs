//! `[proxy.limits]`: what clients may cost.

use super::units::Span;
use serde::Deserialize;

/// See the module. Every key has a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyLimits {
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    pub max_connections_per_login: usize,
    pub max_refused_logins: u32,
    pub login_window: Span,
    pub guesses_without_delay: u32,
    pub guess_window: Span,
    pub max_login_delay: Span,
    pub handshake_timeout: Span,
    pub login_timeout: Span,
    pub write_timeout: Span,
    pub drain: Span,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        let limits = mailferry_proxy::ProxyLimits::default();
        Self {
            max_connections: limits.max_connections,
            max_connections_per_address: limits.max_connections_per_address,
            max_connections_per_login: limits.max_connections_per_login,
            max_refused_logins: limits.max_refused_logins,
            login_window: Span(limits.login_window),
            guesses_without_delay: limits.guesses_without_delay,
            guess_window: Span(limits.guess_window),
            max_login_delay: Span(limits.max_login_delay),
            handshake_timeout: Span(limits.handshake),
            login_timeout: Span(limits.login),
            write_timeout: Span(limits.write),
            drain: Span(limits.drain),
        }
    }
}

impl ProxyLimits {
    /// The same in the proxy's terms.
    pub fn proxy(&self) -> mailferry_proxy::ProxyLimits {
        mailferry_proxy::ProxyLimits {
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            max_connections_per_login: self.max_connections_per_login,
            max_refused_logins: self.max_refused_logins,
            login_window: self.login_window.0,
            guesses_without_delay: self.guesses_without_delay,
            guess_window: self.guess_window.0,
            max_login_delay: self.max_login_delay.0,
            handshake: self.handshake_timeout.0,
            login: self.login_timeout.0,
            write: self.write_timeout.0,
            drain: self.drain.0,
            ..mailferry_proxy::ProxyLimits::default()
        }
    }

    /// Keys whose value would let nobody work, each with why.
    pub fn mistakes(&self) -> Vec<(&'static str, &'static str)> {
        let counts = [
            ("max_connections", self.max_connections),
            ("max_connections_per_address", self.max_connections_per_address),
            ("max_connections_per_login", self.max_connections_per_login),
            ("max_refused_logins", self.max_refused_logins as usize),
        ];
        let times = [
            ("login_window", self.login_window),
            ("guess_window", self.guess_window),
            ("handshake_timeout", self.handshake_timeout),
            ("login_timeout", self.login_timeout),
            ("write_timeout", self.write_timeout),
        ];
        let none =
            counts.into_iter().filter(|(_, count)| *count == 0).map(|(key, _)| (key, "0 lets nobody in"));
        let never = times
            .into_iter()
            .filter(|(_, span)| span.0.is_zero())
            .map(|(key, _)| (key, "must be longer than nothing"));
        none.chain(never).collect()
    }
}
