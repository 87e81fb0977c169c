//! Folders with a role, by attribute (RFC 6154) or by their names in many languages.

/// A folder's role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// What the user sent.
    Sent,
    /// What the user has not sent yet.
    Drafts,
    /// What the user threw away.
    Trash,
    /// What nobody wants.
    Junk,
    /// What the user put aside.
    Archive,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sent, Self::Drafts, Self::Trash, Self::Junk, Self::Archive];

    /// From the attributes of a LIST line.
    pub fn of_attributes(attributes: &[String]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|role| attributes.iter().any(|attribute| attribute.eq_ignore_ascii_case(role.attribute())))
    }

    /// How well a top-level name stands for the role: lower is better, `None` is not at all.
    pub fn rank_of_name(self, name: &str) -> Option<usize> {
        let folded = name.to_lowercase();
        self.names().iter().position(|known| known.to_lowercase() == folded)
    }

    /// The folder's name where the target shows none of its own.
    pub fn default_name(self) -> &'static str {
        match self {
            Self::Sent => "Sent Items",
            Self::Drafts => "Drafts",
            Self::Trash => "Deleted Items",
            Self::Junk => "Junk Email",
            Self::Archive => "Archive",
        }
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::Sent => "\\Sent",
            Self::Drafts => "\\Drafts",
            Self::Trash => "\\Trash",
            Self::Junk => "\\Junk",
            Self::Archive => "\\Archive",
        }
    }

    /// What clients and servers call it, likeliest first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Sent => &[
                "Sent",
                "Sent Items",
                "Sent Messages",
                "Sent Mail",
                "Sent-Mail",
                "Gesendete Elemente",
                "Gesendet",
                "Gesendete Objekte",
                "Gesendete Nachrichten",
                "Éléments envoyés",
                "Envoyés",
                "Messages envoyés",
                "Elementos enviados",
                "Enviados",
                "Itens Enviados",
                "Posta inviata",
                "Inviata",
                "Inviati",
                "Verzonden items",
                "Verzonden",
                "Skickat",
                "Skickade objekt",
                "Sendte elementer",
                "Sendt",
                "Sendt post",
                "Lähetetyt",
                "Elementy wysłane",
                "Wysłane",
                "Odeslaná pošta",
                "Odoslaná pošta",
                "Elküldött elemek",
                "Отправленные",
                "Надіслані",
                "Gönderilmiş Öğeler",
                "送信済みアイテム",
                "送信済みメール",
                "已发送邮件",
                "已发送",
                "寄件備份",
                "보낸 편지함",
            ],
            Self::Drafts => &[
                "Drafts",
                "Draft",
                "Entwürfe",
                "Brouillons",
                "Borradores",
                "Rascunhos",
                "Bozze",
                "Concepten",
                "Utkast",
                "Kladder",
                "Luonnokset",
                "Wersje robocze",
                "Szkice",
                "Koncepty",
                "Rozepsané",
                "Piszkozatok",
                "Черновики",
                "Чернетки",
                "Taslaklar",
                "下書き",
                "草稿",
                "草稿箱",
                "임시 보관함",
            ],
            Self::Trash => &[
                "Trash",
                "Deleted Items",
                "Deleted Messages",
                "Deleted",
                "Bin",
                "Gelöschte Elemente",
                "Gelöscht",
                "Papierkorb",
                "Gelöschte Objekte",
                "Éléments supprimés",
                "Corbeille",
                "Elementos eliminados",
                "Papelera",
                "Itens Excluídos",
                "Lixeira",
                "Lixo",
                "Posta eliminata",
                "Cestino",
                "Verwijderde items",
                "Prullenbak",
                "Borttaget",
                "Papperskorgen",
                "Slettede elementer",
                "Slettet post",
                "Papirkurv",
                "Poistetut",
                "Elementy usunięte",
                "Kosz",
                "Odstraněná pošta",
                "Koš",
                "Odstránená pošta",
                "Törölt elemek",
                "Удаленные",
                "Видалені",
                "Silinmiş Öğeler",
                "削除済みアイテム",
                "ゴミ箱",
                "已删除邮件",
                "已删除",
                "刪除的郵件",
                "지운 편지함",
            ],
            Self::Junk => &[
                "Junk Email",
                "Junk E-mail",
                "Junk",
                "Spam",
                "Bulk Mail",
                "Junk-E-Mail",
                "Werbung",
                "Unerwünscht",
                "Courrier indésirable",
                "Indésirables",
                "Pourriel",
                "Correo no deseado",
                "Lixo Eletrônico",
                "Lixo Eletrónico",
                "Posta indesiderata",
                "Ongewenste e-mail",
                "Skräppost",
                "Søppelpost",
                "Uønsket mail",
                "Roskaposti",
                "Wiadomości-śmieci",
                "Nevyžádaná pošta",
                "Levélszemét",
                "Нежелательная почта",
                "Небажана пошта",
                "Önemsiz E-posta",
                "迷惑メール",
                "垃圾邮件",
                "垃圾郵件",
                "정크 메일",
            ],
            Self::Archive => &[
                "Archive",
                "Archives",
                "Archiv",
                "Archivo",
                "Arquivo",
                "Archivio",
                "Archief",
                "Arkiv",
                "Arkisto",
                "Archiwum",
                "Архив",
                "Архів",
                "Arşiv",
                "アーカイブ",
                "存档",
                "封存",
                "보관",
            ],
        }
    }
}

/// Names at the top of a target mailbox that hold no mail, or that cannot be made: what a source keeps under such a
/// name gets another one.
pub const NOT_FOR_MAIL: [&str; 12] = [
    "Calendar",
    "Contacts",
    "Tasks",
    "Notes",
    "Journal",
    "Outbox",
    "Files",
    "Sync Issues",
    "Conversation History",
    "RSS Feeds",
    "RSS Subscriptions",
    "Conversation Action Settings",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_has_two_roles() {
        let mut names: Vec<String> =
            Role::ALL.iter().flat_map(|role| role.names()).map(|name| name.to_lowercase()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn attributes_and_names() {
        assert_eq!(Role::of_attributes(&["\\HasNoChildren".into(), "\\sent".into()]), Some(Role::Sent));
        assert_eq!(Role::of_attributes(&["\\Noselect".into()]), None);
        assert_eq!(Role::Sent.rank_of_name("ÉLÉMENTS ENVOYÉS"), Role::Sent.rank_of_name("Éléments envoyés"));
        assert!(Role::Sent.rank_of_name("Sent") < Role::Sent.rank_of_name("Sent Messages"));
        assert_eq!(Role::Junk.rank_of_name("Sent"), None);
    }
}
