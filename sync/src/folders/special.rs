//! Folders with a role, by attribute (RFC 6154) or by their names in many languages.

use std::collections::BTreeSet;

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
                "Courrier envoyé",
                "Elementos enviados",
                "Enviados",
                "Mensajes enviados",
                "Correo enviado",
                "Enviadas",
                "Mensagens enviadas",
                "Itens Enviados",
                "Posta inviata",
                "Inviata",
                "Inviati",
                "Messaggi inviati",
                "Verzonden items",
                "Verzonden",
                "Verzonden berichten",
                "Skickat",
                "Skickade objekt",
                "Sendte elementer",
                "Sendt",
                "Sendt post",
                "Lähetetyt",
                "Elementy wysłane",
                "Wysłane",
                "Wiadomości wysłane",
                "Odeslaná pošta",
                "Odoslaná pošta",
                "Elküldött elemek",
                "Отправленные",
                "Надіслані",
                "Gönderilmiş Öğeler",
                "送信済みアイテム",
                "送信済みメール",
                "送信済み",
                "送信済みトレイ",
                "已发送邮件",
                "已发送",
                "寄件備份",
                "已傳送郵件",
                "已传送邮件",
                "보낸 편지함",
            ],
            Self::Drafts => &[
                "Drafts",
                "Draft",
                "Entwürfe",
                "Brouillons",
                "Borradores",
                "Borrador",
                "Rascunhos",
                "Bozze",
                "Concepten",
                "Utkast",
                "Kladder",
                "Luonnokset",
                "Wersje robocze",
                "Szkice",
                "Kopie robocze",
                "Robocze",
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
                "Papelera de reciclaje",
                "Itens Excluídos",
                "Lixeira",
                "Lixo",
                "Itens Eliminados",
                "Reciclagem",
                "Posta eliminata",
                "Cestino",
                "Elementi eliminati",
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
                "ごみ箱",
                "已删除邮件",
                "已删除",
                "刪除的郵件",
                "已刪除的郵件",
                "垃圾桶",
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
                "Spamverdacht",
                "Courrier indésirable",
                "Indésirables",
                "Pourriel",
                "Correo no deseado",
                "Correo basura",
                "Lixo Eletrônico",
                "Lixo Eletrónico",
                "Posta indesiderata",
                "Ongewenste e-mail",
                "Ongewenst",
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
                "迷惑メールフォルダ",
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
                "Arquivo Morto",
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
                "归档",
                "封存",
                "보관",
            ],
        }
    }
}

/// Names at the top of a target mailbox that hold no mail, or that cannot be made: what a source keeps under such a
/// name gets another one.
const NOT_FOR_MAIL: [&str; 12] = [
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

/// The same names in other languages. A mailbox has one language, which its own folders tell: a name of a language counts
/// only where the mailbox lists three of it (see [`no_mail_names`]).
const NO_MAIL_ELSEWHERE: [&[&str]; 9] = [
    &[
        "Kalender",
        "Kontakte",
        "Aufgaben",
        "Notizen",
        "Journal",
        "Postausgang",
        "Synchronisierungsprobleme",
        "RSS-Feeds",
    ],
    &[
        "Calendrier",
        "Contacts",
        "Tâches",
        "Notes",
        "Journal",
        "Boîte d'envoi",
        "Problèmes de synchronisation",
        "Flux RSS",
    ],
    &[
        "Calendario",
        "Contactos",
        "Tareas",
        "Notas",
        "Diario",
        "Bandeja de salida",
        "Problemas de sincronización",
        "Fuentes RSS",
    ],
    &[
        "Calendario",
        "Contatti",
        "Attività",
        "Note",
        "Diario",
        "Posta in uscita",
        "Problemi di sincronizzazione",
        "Feed RSS",
    ],
    &[
        "Agenda",
        "Contactpersonen",
        "Taken",
        "Notities",
        "Logboek",
        "Postvak UIT",
        "Synchronisatieproblemen",
        "RSS-feeds",
    ],
    &[
        "Calendário",
        "Contatos",
        "Contactos",
        "Tarefas",
        "Anotações",
        "Notas",
        "Diário",
        "Caixa de saída",
        "A Enviar",
        "Problemas de Sincronização",
        "RSS Feeds",
    ],
    &[
        "Kalendarz",
        "Kontakty",
        "Zadania",
        "Notatki",
        "Dziennik",
        "Skrzynka nadawcza",
        "Problemy z synchronizacją",
    ],
    &["予定表", "連絡先", "タスク", "仕事", "メモ", "履歴", "送信トレイ", "同期の失敗", "RSS フィード"],
    &[
        "日历",
        "联系人",
        "任务",
        "便笺",
        "日记",
        "发件箱",
        "同步问题",
        "行事曆",
        "連絡人",
        "工作",
        "記事",
        "日誌",
        "寄件匣",
    ],
];

/// How many names of a language tell that it is the mailbox's.
const TELLING: usize = 3;

/// The names, folded, of folders that hold no mail in a mailbox of Exchange that lists these at its top.
pub fn no_mail_names<'a>(listed: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let listed: BTreeSet<String> = listed.map(str::to_lowercase).collect();
    let folded = |names: &[&str]| names.iter().map(|name| name.to_lowercase()).collect::<BTreeSet<_>>();
    let english = folded(&NOT_FOR_MAIL);
    let mut names = english.clone();
    for language in NO_MAIL_ELSEWHERE {
        let language = folded(language);
        // What English calls so too tells nothing.
        if language.difference(&english).filter(|name| listed.contains(*name)).count() >= TELLING {
            names.extend(language);
        }
    }
    names
}

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

    /// What Outlook and the usual clients call them in the languages that are promised.
    #[test]
    fn ten_languages() {
        for (role, names) in [
            (
                Role::Sent,
                "Sent Items|Gesendete Elemente|Éléments envoyés|Elementos enviados|Posta inviata|Verzonden items|\
                 Itens Enviados|Elementy wysłane|送信済みアイテム|已发送邮件|寄件備份",
            ),
            (
                Role::Drafts,
                "Drafts|Entwürfe|Brouillons|Borradores|Bozze|Concepten|Rascunhos|Wersje robocze|下書き|草稿",
            ),
            (
                Role::Trash,
                "Deleted Items|Gelöschte Elemente|Éléments supprimés|Elementos eliminados|Posta eliminata|\
                 Verwijderde items|Itens Excluídos|Itens Eliminados|Elementy usunięte|削除済みアイテム|已删除邮件|刪除的郵件",
            ),
            (
                Role::Junk,
                "Junk Email|Junk-E-Mail|Courrier indésirable|Correo no deseado|Posta indesiderata|Ongewenste e-mail|\
                 Lixo Eletrônico|Lixo Eletrónico|Wiadomości-śmieci|迷惑メール|垃圾邮件|垃圾郵件",
            ),
            (
                Role::Archive,
                "Archive|Archiv|Archives|Archivo|Archivio|Archief|Arquivo|Arquivo Morto|Archiwum|アーカイブ|存档|封存",
            ),
        ] {
            for name in names.split('|') {
                assert!(role.rank_of_name(name).is_some(), "{role:?} {name}");
                assert!(role.rank_of_name(&name.to_uppercase()).is_some(), "{role:?} {name} in capitals");
            }
        }
    }

    #[test]
    fn a_language_is_told_by_three_names() {
        let german = ["Posteingang", "Kalender", "Kontakte", "Aufgaben"];
        let names = |listed: &[&str]| no_mail_names(listed.iter().copied());
        assert!(names(&german).contains("postausgang"));
        assert!(!names(&german[..3]).contains("kalender"), "two may be anybody's folders");
        assert!(names(&[]).contains("calendar"));
        let english = ["Calendar", "Contacts", "Notes", "Journal", "Tasks", "Outbox"];
        assert!(!names(&english).contains("calendrier"), "Contacts, Notes and Journal are French too");
    }
}
