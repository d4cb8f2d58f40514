//! Certificates of a test's own, made by the `openssl` command.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate authority and what it has signed, as PEM files in one folder.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

impl Authority {
    /// Makes an authority in a folder.
    pub(crate) fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("make a folder");
        let made = Self { folder: folder.to_owned() };
        let (key, certificate) = (made.file("ca.key"), made.file("ca.pem"));
        openssl(&format!(
            "req -x509 {KEY} -keyout {key} -out {certificate} -subj /CN=authority -days 2 \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature"
        ));
        made
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> String {
        self.file("ca.pem")
    }

    /// Signs a certificate for 127.0.0.1 and a common name; returns the files of certificate and key.
    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        let (key, request) = (self.file(&format!("{name}.key")), self.file(&format!("{name}.csr")));
        let (certificate, extensions) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.ext")));
        std::fs::write(&extensions, "subjectAltName=IP:127.0.0.1\n").expect("write a file");
        openssl(&format!("req -new {KEY} -keyout {key} -out {request} -subj /CN={name}"));
        openssl(&format!(
            "x509 -req -in {request} -CA {} -CAkey {} -CAcreateserial -days 2 -extfile {extensions} -out {certificate}",
            self.certificate(),
            self.file("ca.key"),
        ));
        (certificate, key)
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

fn openssl(arguments: &str) {
    let done = Command::new("openssl").args(arguments.split_whitespace()).output().expect("run openssl");
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}
