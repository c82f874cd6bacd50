//! The last good answers to questions whose answers are public and change slowly, for when the controller is away.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{cluster, pki::Certificate};

/// For how many labels answers are kept. Only labels of existing groups have answers.
const LABELS: usize = 256;

/// An answer for each of a bounded number of labels.
pub(super) struct LastGood<T>(Mutex<HashMap<Option<String>, T>>);

impl<T> Default for LastGood<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + PartialEq> LastGood<T> {
    /// Keeps an answer; where there are too many labels, some other one makes room, but never what is served without a label.
    pub fn keep(&self, label: Option<&str>, answer: &T) {
        let mut answers = self.lock();
        let label = label.map(str::to_owned);
        if answers.get(&label) == Some(answer) {
            return;
        }
        if answers.len() >= LABELS
            && !answers.contains_key(&label)
            && let Some(other) = answers.keys().find(|label| label.is_some()).cloned()
        {
            answers.remove(&other);
        }
        answers.insert(label, answer.clone());
    }

    /// The last answer.
    pub fn get(&self, label: Option<&str>) -> Option<T> {
        self.lock().get(&label.map(str::to_owned)).cloned()
    }

    /// For how many labels an answer is kept now.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// The label means nothing any more.
    pub fn forget(&self, label: Option<&str>) {
        self.lock().remove(&label.map(str::to_owned));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Option<String>, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of the certificates (DER) that are valid now, if there are any; they may have expired since they were kept.
pub(super) fn valid_now(mut chain: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    let now = cluster::now();
    let is_valid = |der: &Vec<u8>| {
        Certificate::from_der(der).is_ok_and(|certificate| {
            let validity = certificate.validity();
            validity.not_before <= now && now < validity.not_after
        })
    };
    chain.retain(is_valid);
    (!chain.is_empty()).then_some(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_labels_is_bounded_and_the_newest_is_always_there() {
        let answers = LastGood::default();
        for number in 0..LABELS + 10 {
            let label = format!("l{number}");
            answers.keep(Some(&label), &number);
            assert_eq!(answers.get(Some(&label)), Some(number));
        }
        assert_eq!(answers.len(), LABELS);
        answers.keep(None, &7);
        answers.keep(None, &8);
        for number in 0..3 * LABELS {
            answers.keep(Some(&format!("m{number}")), &number);
        }
        assert_eq!((answers.get(None), answers.len()), (Some(8), LABELS));
        answers.forget(None);
        assert_eq!(answers.get(None), None);
    }
}
