//! The judgement in words.

use std::fmt::Write;

use super::judge::Judgement;
use crate::{est::http_status, pki::Role, plugin::words::printable, policy::Outcome};

/// Every step, the verdict, and what would be certified.
pub(super) fn in_words(judgement: &Judgement) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = write_all(&mut text, judgement);
    text
}

fn write_all(out: &mut String, judgement: &Judgement) -> std::fmt::Result {
    if let Some(csr) = &judgement.csr {
        let (subject, key) = (csr.subject().to_string(), csr.key());
        writeln!(out, "request    {}", printable(&subject))?;
        writeln!(
            out,
            "key        {} ({})",
            key.fingerprint(),
            key.algorithm()
        )?;
    }
    if let Some(principal) = &judgement.principal {
        writeln!(out, "requester  {}", printable(&principal.to_string()))?;
    }
    if let Some(id) = &judgement.id {
        let state = match judgement.is_known {
            true => "registered",
            false => "not registered",
        };
        writeln!(out, "device     {id} ({state})")?;
    }
    writeln!(out)?;
    for (name, outcome) in &judgement.steps {
        match outcome {
            Outcome::Passes => writeln!(out, "  pass  {name}")?,
            Outcome::DoesNotApply => writeln!(out, "  n/a   {name}")?,
            Outcome::Refuses(refusal) => {
                writeln!(out, "  FAIL  {name}")?;
                writeln!(out, "        {}", printable(&refusal.to_string()))?;
            }
        }
    }
    writeln!(out)?;
    write_verdict(out, judgement)?;
    for note in &judgement.notes {
        writeln!(out, "({note})")?;
    }
    Ok(())
}

fn write_verdict(out: &mut String, judgement: &Judgement) -> std::fmt::Result {
    match (judgement.verdict(), &judgement.grant, &judgement.group) {
        (Err(refusal), ..) => {
            let what = match refusal.reason.awaits_approval() {
                true => "waits",
                false => "refused",
            };
            let (status, words) = (http_status(refusal.reason), printable(&refusal.to_string()));
            writeln!(out, "verdict: {what} with {status}: {words}")
        }
        (Ok(()), Some(grant), Some(group)) => {
            let validity = grant.validity();
            let names = grant.names().to_texts();
            writeln!(out, "verdict: granted")?;
            writeln!(
                out,
                "  subject    {}",
                printable(&grant.subject().to_string())
            )?;
            writeln!(out, "  names      {}", or_none(names))?;
            writeln!(
                out,
                "  validity   {} to {}",
                validity.not_before, validity.not_after
            )?;
            writeln!(out, "  usages     {}", or_none(texts(&group.key_usages)))?;
            writeln!(
                out,
                "  purposes   {}",
                or_none(texts(&group.extended_key_usages))
            )?;
            if let Role::Authority { path_length } = group.role {
                let length = path_length.map_or("none".into(), |length| length.to_string());
                writeln!(out, "  authority  CA:TRUE, pathLength {length}")?;
            }
            writeln!(out, "  signed by  {}/{}", group.namespace, group.authority)
        }
        (Ok(()), ..) => writeln!(out, "verdict: refused: Internal: nothing was decided"),
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn or_none(texts: Vec<String>) -> String {
    match texts.is_empty() {
        true => "none".into(),
        false => printable(&texts.join(", ")),
    }
}
