//! What one MX host is, by the operator's word and by its name. Pure.

use std::fmt;

use crate::HostName;

/// What counts as cut over for one domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Third-party filters: these hosts and everything below them count as cut over.
    pub accept: Vec<HostName>,
    /// The one Office 365 host of this tenant; when set, no other Office 365 host counts.
    pub expect: Option<HostName>,
    /// Hosts known to be the source's; they never count by their form alone.
    pub old: Vec<HostName>,
}

/// How one MX host is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostClass {
    /// One of Office 365's forms, or the pinned host.
    Office365,
    /// On the operator's list.
    Accepted,
    /// Office 365's form, and not the host that the operator pinned.
    OtherTenant,
    /// Known as the source's.
    Old,
    /// Microsoft's consumer mail (outlook.com, hotmail.com): looks alike.
    Consumer,
    /// The record that proves a domain's ownership; takes no mail.
    OwnershipProof,
    /// Microsoft's German cloud, closed in 2021.
    RetiredGermany,
    /// `.`, which is only a statement when it stands alone.
    Nowhere,
    /// Anything else.
    Foreign,
}

impl Policy {
    /// How an MX host is seen under this policy.
    pub fn classify(&self, host: &HostName) -> HostClass {
        if host.is_root() {
            return HostClass::Nowhere;
        }
        if self.expect.as_ref() == Some(host) {
            return HostClass::Office365;
        }
        if self.accept.iter().any(|accepted| host.is_within(accepted)) {
            return HostClass::Accepted;
        }
        if self.old.contains(host) {
            return HostClass::Old;
        }
        match form(host) {
            HostClass::Office365 if self.expect.is_some() => HostClass::OtherTenant,
            form => form,
        }
    }
}

/// Where Microsoft lets Office 365 domains receive mail: a tenant's label(s), then one of these.
const OFFICE_365: [&str; 5] = [
    "mail.protection.outlook.com",
    // With DNSSEC and DANE, and for domains added since July 2026: contoso-com.e-v1.mx.microsoft.
    "mx.microsoft",
    // Before 2013.
    "mail.eo.outlook.com",
    // GCC High and DoD.
    "mail.protection.office365.us",
    // 21Vianet, China.
    "mail.protection.partner.outlook.cn",
];

/// A host judged by its name alone.
fn form(host: &HostName) -> HostClass {
    let below = |suffix: &str| host.is_below(&HostName::from(suffix));
    if OFFICE_365.into_iter().any(below) {
        HostClass::Office365
    } else if below("olc.protection.outlook.com") {
        HostClass::Consumer
    } else if below("msv1.invalid") {
        HostClass::OwnershipProof
    } else if below("mail.protection.outlook.de") {
        HostClass::RetiredGermany
    } else {
        HostClass::Foreign
    }
}

impl HostClass {
    /// Whether mail for this host counts as cut over.
    pub fn counts(self) -> bool {
        match self {
            Self::Office365 | Self::Accepted => true,
            Self::OtherTenant
            | Self::Old
            | Self::Consumer
            | Self::OwnershipProof
            | Self::RetiredGermany
            | Self::Nowhere
            | Self::Foreign => false,
        }
    }
}

impl fmt::Display for HostClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Office365 => "is Office 365",
            Self::Accepted => "is on the list of accepted hosts",
            Self::OtherTenant => "is Office 365 and not the host expected for this domain",
            Self::Old => "is the source's",
            Self::Consumer => "is Microsoft's consumer mail, not Office 365",
            Self::OwnershipProof => "proves ownership to Microsoft and takes no mail: delete it",
            Self::RetiredGermany => "is Microsoft's closed German cloud",
            Self::Nowhere => "says that no mail is taken, which is void beside other records",
            Self::Foreign => "is neither Office 365 nor accepted",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            accept: vec![HostName::from("pphosted.com")],
            expect: None,
            old: vec![HostName::from("mail.contoso.edu")],
        }
    }

    #[test]
    fn forms_of_office_365_count_and_look_alikes_do_not() {
        let cases = [
            ("contoso-edu.mail.protection.outlook.com", HostClass::Office365),
            ("Contoso-Edu.Mail.Protection.OUTLOOK.com.", HostClass::Office365),
            ("contoso.mail.eo.outlook.com", HostClass::Office365),
            ("contoso-com.e-v1.mx.microsoft", HostClass::Office365),
            ("contoso-com.o-v1.mx.microsoft", HostClass::Office365),
            ("contoso-com.mail.protection.office365.us", HostClass::Office365),
            ("contoso-cn.mail.protection.partner.outlook.cn", HostClass::Office365),
            ("mail.protection.outlook.com", HostClass::Foreign),
            ("mx.microsoft", HostClass::Foreign),
            ("contoso-edu.mail.protection.outlook.com.attacker.example", HostClass::Foreign),
            ("xmail.protection.outlook.com", HostClass::Foreign),
            ("contoso.fakemail.protection.outlook.com", HostClass::Foreign),
            ("evilmx.microsoft", HostClass::Foreign),
            ("contoso-edu.o365.protection.outlook.com", HostClass::Foreign),
            ("outlook-com.olc.protection.outlook.com", HostClass::Consumer),
            ("hotmail-com.olc.protection.outlook.com", HostClass::Consumer),
            ("ms12345678.msv1.invalid", HostClass::OwnershipProof),
            ("contoso-de.mail.protection.outlook.de", HostClass::RetiredGermany),
            ("contoso-de.mail.protection.outlook.co", HostClass::Foreign),
            ("mxa-001.gslb.pphosted.com", HostClass::Accepted),
            ("pphosted.com", HostClass::Accepted),
            ("notpphosted.com", HostClass::Foreign),
            ("mail.contoso.edu", HostClass::Old),
            (".", HostClass::Nowhere),
            ("192.0.2.25", HostClass::Foreign),
        ];
        for (host, class) in cases {
            assert_eq!(policy().classify(&HostName::from(host)), class, "{host}");
        }
    }

    #[test]
    fn operator_word_beats_form() {
        let pinned = HostName::from("contoso-edu.mail.protection.outlook.com");
        let other = HostName::from("fabrikam-com.mail.protection.outlook.com");
        let policy = Policy { expect: Some(pinned.clone()), ..policy() };
        assert_eq!(policy.classify(&pinned), HostClass::Office365);
        assert_eq!(policy.classify(&other), HostClass::OtherTenant);
        // The source may itself be an Office 365 tenant.
        let policy = Policy { expect: None, old: vec![other.clone()], ..policy };
        assert_eq!(policy.classify(&other), HostClass::Old);
        // A filter that stays in front is accepted, though it was there before.
        let filter = HostName::from("mx1.pphosted.com");
        let policy = Policy { old: vec![filter.clone()], ..policy };
        assert_eq!(policy.classify(&filter), HostClass::Accepted);
        // An empty entry accepts nothing.
        let policy = Policy { accept: vec![HostName::from("."), HostName::from("")], ..Policy::default() };
        assert_eq!(policy.classify(&HostName::from("mail.contoso.edu")), HostClass::Foreign);
    }
}
