//! The one way to state a condition: the transition time changes only with the status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Reason;
use crate::api::{Condition, ConditionStatus};

/// What is to be said about one aspect of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The condition's type, such as `Ready`.
    pub aspect: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The one word for why.
    pub reason: Reason,
    /// The sentence for people.
    pub message: String,
}

impl Statement {
    /// The aspect holds.
    pub fn yes(aspect: &'static str, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            aspect,
            status: ConditionStatus::True,
            reason,
            message: message.into(),
        }
    }

    /// The aspect does not hold.
    pub fn no(aspect: &'static str, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            aspect,
            status: ConditionStatus::False,
            reason,
            message: message.into(),
        }
    }
}

/// Puts a statement into the conditions of an object.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    statement: Statement,
    generation: Option<i64>,
    now: Timestamp,
) {
    let mut message = statement.message;
    if message.len() > 2048 {
        let end = (0..=2048)
            .rev()
            .find(|at| message.is_char_boundary(*at))
            .unwrap_or(0);
        message.truncate(end);
    }
    let mut condition = Condition {
        type_: statement.aspect.into(),
        status: statement.status,
        observed_generation: generation,
        last_transition_time: Time(whole_seconds(now)),
        reason: statement.reason.to_string(),
        message,
    };
    match conditions
        .iter_mut()
        .find(|known| known.type_ == condition.type_)
    {
        Some(known) => {
            if known.status == condition.status {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

/// Kubernetes keeps times in whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_stays_while_the_status_stays() {
        let (first, later) = (
            Timestamp::from_second(100).unwrap(),
            Timestamp::from_second(200).unwrap(),
        );
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            Statement::no("Ready", Reason::GroupNotFound, "a"),
            Some(1),
            first,
        );
        set_condition(
            &mut conditions,
            Statement::no("Ready", Reason::GroupDisabled, "b"),
            Some(2),
            later,
        );
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time.0, first);
        assert_eq!(conditions[0].reason, "GroupDisabled");
        set_condition(
            &mut conditions,
            Statement::yes("Ready", Reason::CertificateReady, "c"),
            Some(2),
            later,
        );
        assert_eq!(conditions[0].last_transition_time.0, later);
    }

    #[test]
    fn a_message_is_cut_at_the_bound_of_the_schema() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            Statement::no("Ready", Reason::Internal, "é".repeat(2000)),
            None,
            Timestamp::UNIX_EPOCH,
        );
        assert!(conditions[0].message.len() <= 2048);
    }
}
