//! Finding the way from a certificate to its root, and to an authority that is trusted.

mod trust;

pub use trust::{ChainError, MAX_CHECKS, MAX_LINKS, MAX_PRESENTED, verify};

use super::certificate::{Certificate, MAX_CHAIN};

/// The certificate, its issuer, the issuer's issuer and so on, as far as `pool` has them, at most [`MAX_CHAIN`] long.
///
/// A step needs matching names, no contradiction between AKI and SKI, and a verified signature. Where several candidates
/// fit (cross-certificates), a self-issued one is preferred, then the one that lasts longest. The path ends at a self-issued
/// certificate, or where no issuer is found; the caller looks whether its end is trusted. Validity is not checked.
pub fn path_to_root(start: &Certificate, pool: &[Certificate]) -> Vec<Certificate> {
    let mut path = vec![start.clone()];
    while path.len() < MAX_CHAIN {
        match path
            .last()
            .filter(|last| !last.is_self_issued())
            .and_then(|last| issuer_of(last, pool, &path))
        {
            Some(issuer) => path.push(issuer.clone()),
            None => break,
        }
    }
    path
}

fn issuer_of<'p>(
    certificate: &Certificate,
    pool: &'p [Certificate],
    path: &[Certificate],
) -> Option<&'p Certificate> {
    pool.iter()
        .filter(|candidate| candidate.subject() == certificate.issuer())
        .filter(
            |candidate| match (certificate.authority_key_id(), candidate.subject_key_id()) {
                (Some(wanted), Some(has)) => wanted == has,
                _ => true,
            },
        )
        .filter(|candidate| !path.contains(candidate))
        .filter(|candidate| certificate.is_signed_by(candidate))
        .max_by_key(|candidate| (candidate.is_self_issued(), candidate.validity().not_after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::fixtures::Ca;

    #[test]
    fn the_path_leads_over_intermediates_to_the_root() {
        let root = Ca::root("CN=Root");
        let issuing = root.sub("CN=Issuing");
        let leaf = issuing.leaf("CN=device");
        let pool = [
            issuing.certificate.clone(),
            leaf.clone(),
            root.certificate.clone(),
        ];
        let expected = vec![
            leaf.clone(),
            issuing.certificate.clone(),
            root.certificate.clone(),
        ];
        assert_eq!(path_to_root(&leaf, &pool), expected);
        assert_eq!(path_to_root(&root.certificate, &pool), pool[2..]);
    }

    #[test]
    fn the_path_ends_where_the_pool_does() {
        let root = Ca::root("CN=Root");
        let issuing = root.sub("CN=Issuing");
        let leaf = issuing.leaf("CN=device");
        assert_eq!(path_to_root(&leaf, &[root.certificate]), vec![leaf]);
    }

    #[test]
    fn an_authority_of_the_same_name_with_another_key_is_no_issuer() {
        let leaf = Ca::root("CN=Root").leaf("CN=device");
        let impostor = Ca::root("CN=Root");
        assert_eq!(path_to_root(&leaf, &[impostor.certificate]), vec![leaf]);
    }

    #[test]
    fn authorities_that_certify_each_other_do_not_make_it_run_forever() {
        let (a, b) = (Ca::root("CN=A"), Ca::root("CN=B"));
        let a_by_b = b.certify(&a);
        let b_by_a = a.certify(&b);
        let leaf = a.leaf("CN=device");
        let path = path_to_root(&leaf, &[a_by_b.clone(), b_by_a.clone()]);
        assert_eq!(path, [leaf, a_by_b, b_by_a]);
    }

    #[test]
    fn a_self_issued_root_is_preferred_to_a_cross_certificate() {
        let (old, new) = (Ca::root("CN=Old"), Ca::root("CN=New"));
        let cross = old.certify(&new);
        let leaf = new.leaf("CN=device");
        let pool = [cross, new.certificate.clone(), old.certificate];
        assert_eq!(path_to_root(&leaf, &pool), [leaf.clone(), new.certificate]);
    }

    #[test]
    fn a_long_chain_is_cut() {
        let mut authorities = vec![Ca::root("CN=0")];
        for depth in 1..MAX_CHAIN + 4 {
            let next = authorities[depth - 1].sub(&format!("CN={depth}"));
            authorities.push(next);
        }
        let pool: Vec<_> = authorities
            .iter()
            .map(|ca| ca.certificate.clone())
            .collect();
        let leaf = authorities.last().unwrap().leaf("CN=device");
        assert_eq!(path_to_root(&leaf, &pool).len(), MAX_CHAIN);
    }
}
