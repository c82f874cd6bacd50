//! Alternative names as sets, and as the texts in which they are kept on record.

use super::{SanError, SubjectAltNames};

impl SubjectAltNames {
    /// These names and those of `other` that are not among them.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        fn join<T: Clone + PartialEq>(own: &[T], others: &[T]) -> Vec<T> {
            let new = others.iter().filter(|name| !own.contains(name));
            own.iter().chain(new).cloned().collect()
        }
        Self {
            dns: join(&self.dns, &other.dns),
            ip: join(&self.ip, &other.ip),
            uri: join(&self.uri, &other.uri),
            other: join(&self.other, &other.other),
        }
    }

    /// Whether every name is also in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.dns.iter().all(|name| other.dns.contains(name))
            && self.ip.iter().all(|name| other.ip.contains(name))
            && self.uri.iter().all(|name| other.uri.contains(name))
            && self.other.iter().all(|name| other.other.contains(name))
    }

    /// Each name as `DNS:…`, `IP:…` or `URI:…`.
    pub fn to_texts(&self) -> Vec<String> {
        let dns = self.dns.iter().map(|name| format!("DNS:{name}"));
        let ip = self.ip.iter().map(|name| format!("IP:{name}"));
        let uri = self.uri.iter().map(|name| format!("URI:{name}"));
        dns.chain(ip).chain(uri).collect()
    }

    /// Reads what [`to_texts`](Self::to_texts) wrote.
    ///
    /// # Errors
    /// [`SanError`] about the first text that is no such name.
    pub fn from_texts<S: AsRef<str>>(texts: &[S]) -> Result<Self, SanError> {
        let (mut dns, mut ip, mut uri) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts.iter().map(AsRef::as_ref) {
            match text.split_once(':') {
                Some(("DNS", name)) => dns.push(name),
                Some(("IP", name)) => ip.push(name),
                Some(("URI", name)) => uri.push(name),
                _ => {
                    return Err(SanError::NotIssued {
                        kind: text.chars().take(80).collect(),
                    });
                }
            }
        }
        Self::parse(&dns, &ip, &uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_record_are_read_as_they_were_written() {
        let names = SubjectAltNames::parse(
            &["a.example.com"],
            &["192.0.2.1", "2001:db8::1"],
            &["urn:dev:1"],
        );
        let names = names.unwrap();
        assert_eq!(
            SubjectAltNames::from_texts(&names.to_texts()).unwrap(),
            names
        );
        assert!(SubjectAltNames::from_texts(&["x"]).is_err());
    }

    #[test]
    fn a_union_has_every_name_once() {
        let a = SubjectAltNames::parse(&["a", "b"], &[], &[]).unwrap();
        let b = SubjectAltNames::parse(&["b", "c"], &[], &[]).unwrap();
        assert_eq!(a.union(&b).dns, ["a", "b", "c"]);
        assert!(a.is_subset_of(&a.union(&b)));
        assert!(!a.union(&b).is_subset_of(&a));
    }
}
