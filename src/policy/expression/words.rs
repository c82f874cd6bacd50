//! Fields that hold one of a few words: to compare one with another word is a slip, and `!=` would then always be true.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use super::children;
use crate::policy::Principal;

/// A field, what it may hold in words, and whether it may hold this.
struct Field {
    path: &'static str,
    words: &'static [&'static str],
    has_more: fn(&str) -> bool,
}

const FIELDS: [Field; 3] = [
    Field {
        path: "principal.type",
        words: &Principal::KINDS,
        has_more: |_| false,
    },
    Field {
        path: "device.state",
        words: &["Active", "Suspended", "Revoked"],
        has_more: |_| false,
    },
    Field {
        path: "csr.key.algorithm",
        words: &[
            "ECDSA-P256",
            "ECDSA-P384",
            "ECDSA-P521",
            "Ed25519",
            "RSA-2048",
        ],
        // RSA comes in many lengths.
        has_more: |word| {
            word.strip_prefix("RSA-")
                .is_some_and(|bits| bits.parse::<u16>().is_ok())
        },
    },
];

/// Every word that such a field is compared with must be one that it can hold.
pub(super) fn check(expression: &IdedExpr) -> Result<(), String> {
    if let Expr::Call(call) = &expression.expr
        && [operators::EQUALS, operators::NOT_EQUALS, operators::IN]
            .contains(&call.func_name.as_str())
        && let [left, right] = call.args.as_slice()
    {
        check_pair(&left.expr, &right.expr)?;
        check_pair(&right.expr, &left.expr)?;
    }
    children(&expression.expr).into_iter().try_for_each(check)
}

fn check_pair(field: &Expr, with: &Expr) -> Result<(), String> {
    let Some(path) = path(field) else {
        return Ok(());
    };
    let Some(field) = FIELDS.iter().find(|field| field.path == path) else {
        return Ok(());
    };
    let wrong = words(with)
        .into_iter()
        .find(|word| !field.words.contains(word) && !(field.has_more)(word));
    match wrong {
        Some(word) => Err(format!(
            "{path} is never '{word}': use {}",
            field.words.join(", ")
        )),
        None => Ok(()),
    }
}

/// `a.b.c`, of a chain of fields, also where it is written `a['b'].c`.
fn path(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", path(&select.operand.expr)?, select.field))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [whole, key] => match &key.expr {
                Expr::Literal(LiteralValue::String(key)) => {
                    Some(format!("{}.{}", path(&whole.expr)?, key.inner()))
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The texts that are written out: one, or those of a list.
fn words(expression: &Expr) -> Vec<&str> {
    match expression {
        Expr::Literal(LiteralValue::String(word)) => vec![word.inner()],
        Expr::List(list) => list
            .elements
            .iter()
            .flat_map(|item| words(&item.expr))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{expression::Expression, view::samples_for_rules};

    #[test]
    fn a_field_of_few_words_is_compared_with_one_of_them() {
        for (expression, word) in [
            (
                "principal.type != 'password'",
                "principal.type is never 'password': use Device, Bootstrap, RegistrationAuthority, Password, Token, Operator",
            ),
            (
                "!(principal.type in ['Device', 'Tokens'])",
                "never 'Tokens'",
            ),
            ("'Enabled' == device.state", "device.state is never"),
            (
                "csr.key['algorithm'] == 'EC'",
                "csr.key.algorithm is never 'EC'",
            ),
            (
                "csr.dnsNames.all(n, csr.key.algorithm != 'RSA')",
                "csr.key.algorithm is never 'RSA'",
            ),
        ] {
            let error = Expression::condition(expression, &samples_for_rules()).unwrap_err();
            assert!(error.contains(word), "{expression}: {error}");
        }
        for expression in [
            "principal.type != 'Password' || principal.user == 'password'",
            "principal.type in ['Device', 'Token'] && device.state == 'Active'",
            "csr.key.algorithm in ['RSA-3072', 'ECDSA-P256']",
            "csr.key.algorithm.startsWith('RSA') && csr.commonName in ['Passwort']",
        ] {
            Expression::condition(expression, &samples_for_rules()).unwrap();
        }
    }
}
