use super::*;
use std::{fs, fs::Permissions};

/// A folder in which everything is as it should be.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("state")).unwrap();
        Vault::create(&place.path("key")).unwrap();
        place.write("secret", "s3cret\n");
        for name in ["one", "two"] {
            let made = rcgen::generate_simple_self_signed(vec!["imap.contoso.com".into()]).unwrap();
            place.write(&format!("{name}.pem"), &made.cert.pem());
            place.write(&format!("{name}.key"), &made.signing_key.serialize_pem());
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    /// What is wrong with the good configuration in which `from` was replaced by `to`; `@` is the folder.
    fn check(&self, from: &str, to: &str) -> Result<Vec<String>, String> {
        let good = r#"state_dir = "@/state"
key_file = "@/key"
[target]
tenant = "contoso.onmicrosoft.com"
client_id = "1"
client_secret_file = "@/secret"
[proxy]
endpoint = "E"
listen = [{ address = "127.0.0.1:993", security = "ssl" }]
certificates = [{ certificate_file = "@/one.pem", private_key_file = "@/one.key" }]
[dns]
wait = "72h"
[admin]
socket = "@/admin.sock"
"#;
        assert!(good.contains(from), "{from}");
        let text = good.replace(from, to).replace('@', &self.0.path().display().to_string());
        let file = self.path("m.toml");
        fs::write(&file, &text).unwrap();
        let config = Config::parse(&file, &text).map_err(|error| error.to_string())?;
        let line = |problem| ConfigError { file: "m.toml".into(), problems: vec![problem] }.to_string();
        match check(&file, &config) {
            Ok(warnings) => Ok(warnings.into_iter().map(line).collect()),
            Err(error) => Err(error.problems.into_iter().map(line).collect::<Vec<_>>().join("\n")),
        }
    }
}

#[test]
fn what_is_good_passes_without_a_word() {
    assert_eq!(Place::new().check("E", "E"), Ok(Vec::new()));
}

#[test]
fn everything_that_is_named_is_looked_at_and_named_with_its_place() {
    let place = Place::new();
    place.write("empty", "\n");
    place.write("text", "no PEM here");
    for (from, to, expected) in [
        ("@/state\"", "@/nowhere\"", "m.toml:1:1: state_dir: "),
        ("@/state\"", "@/key\"", "m.toml:1:1: state_dir: "),
        ("@/key\"", "@/nokey\"", "`mailferry init` makes one"),
        ("@/key\"", "@/state/key\"", "m.toml:2:1: key_file: "),
        ("@/key\"", "@/text\"", "m.toml:2:1: key_file: "),
        ("@/secret", "@/nosecret", "m.toml:6:1: target.client_secret_file: "),
        ("@/secret", "@/empty", "empty is empty"),
        ("client_secret_file", "certificate_file", "private_key_file is missing"),
        ("tenant = \"contoso", "port = 0\ntenant = \"contoso", "m.toml:4:1: target.port: 0 is not a port"),
        ("client_id = \"1\"", "client_id = \" \"", "target.client_id: is empty"),
        ("client_id", "token_url = \"http://contoso.com/t\"\nclient_id", "m.toml:5:1: target.token_url: "),
        ("client_id", "ca_file = \"@/text\"\nclient_id", "m.toml:5:1: target.ca_file: "),
        ("@/one.pem", "@/text", "m.toml:10:19: proxy.certificates[0].certificate_file: "),
        ("@/one.key", "@/text", "has no PEM private key"),
        ("@/one.key", "@/two.key", "two.key is not the key of "),
        ("ssl", "none", "no error"),
        (
            "\"127.0.0.1:993\", security = \"ssl\"",
            "\"0.0.0.0:143\", security = \"none\"",
            "only for loopback",
        ),
        ("[{ address = \"127.0.0.1:993\", security = \"ssl\" }]", "[]", "no client could connect"),
        ("[dns]", "[sync]\nmemory = \"1MiB\"\nmax_items = 0\n[dns]", "sync.memory: is below 16MiB"),
        ("[dns]", "[dns]\nport = 0", "dns.port: 0 is not a port"),
        (
            "[dns]",
            "[proxy.limits]\nmax_connections = 0\nlogin_timeout = \"0s\"\n[dns]",
            "m.toml:12:1: proxy.limits.max_connections: 0 lets nobody in\nm.toml:13:1: proxy.limits.login_timeout: must",
        ),
        (
            "security = \"ssl\" }",
            "security = \"ssl\", proxy_protocol_from = [\"10.1.2.3/8\"] }",
            "10.0.0.0/8 is meant?",
        ),
        ("endpoint = \"E\"", "endpoint = \"E\"\ntell_source = \"all\"", "`nothing`, `proxy-protocol`, `id`"),
        ("[dns]", "[log]\nlevel = \"a=b=c\"\n[dns]", "log.level: "),
        ("[admin]", "[admin]\ntcp = \"127.0.0.1:9143\"\ntoken_file = \"@/empty\"", "admin.token_file: "),
    ] {
        let said = place.check(from, to).map_or_else(|error| error, |_| "no error".into());
        assert!(said.contains(expected), "{to}\n  gives {said}\n  not   {expected}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn all_problems_come_at_once_and_doubts_are_warnings() {
    let place = Place::new();
    let said = place
        .check(
            "client_id = \"1\"\nclient_secret_file = \"@/secret\"",
            "client_id = \"\"\nclient_secret_file = \"@/x\"",
        )
        .unwrap_err();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert_eq!(place.check("72h", "5m").unwrap().len(), 1);
    fs::set_permissions(place.path("secret"), Permissions::from_mode(0o644)).unwrap();
    let warnings = place.check("E", "E").unwrap();
    assert!(
        warnings[0].starts_with("m.toml:6:1: target.client_secret_file: ")
            && warnings[0].contains("chmod 600"),
        "{warnings:?}"
    );
}
