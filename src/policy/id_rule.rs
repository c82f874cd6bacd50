//! How a CSR's common name leads to a registration ID, and which IDs a group takes.

use regex::bytes::{Regex, RegexBuilder};

use super::{Reason, Refusal, RegistrationId};
use crate::api::RegistrationIdRule;

const PLACEHOLDER: &str = "${device}";

/// A field below the one that is being compiled, and why it cannot be used.
pub(super) type Misfit = (&'static str, String);

/// A group's rule about registration IDs.
#[derive(Clone, Debug, Default)]
pub struct IdRule {
    pattern: Option<Regex>,
    common_name: Option<Frame>,
    value: Option<Frame>,
}

/// Text around one `${device}`.
#[derive(Clone, Debug)]
struct Frame {
    before: String,
    after: String,
}

impl Frame {
    fn parse(field: &'static str, text: &str) -> Result<Self, Misfit> {
        match text.split_once(PLACEHOLDER) {
            Some((before, after)) if !before.contains("${") && !after.contains("${") => Ok(Self {
                before: before.into(),
                after: after.into(),
            }),
            _ => Err((
                field,
                format!("write {PLACEHOLDER} exactly once, and no other placeholder"),
            )),
        }
    }

    fn fill(&self, device: &str) -> String {
        format!("{}{device}{}", self.before, self.after)
    }

    /// The part in place of `${device}`, whatever the case of the rest.
    fn take<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (before, rest) = text.split_at_checked(self.before.len())?;
        let (device, after) = rest.split_at_checked(rest.len().checked_sub(self.after.len())?)?;
        let fits =
            before.eq_ignore_ascii_case(&self.before) && after.eq_ignore_ascii_case(&self.after);
        (fits && !device.is_empty()).then_some(device)
    }
}

impl IdRule {
    /// Compiles the rule. The error names the field.
    pub fn compile(rule: &RegistrationIdRule) -> Result<Self, Misfit> {
        let frame = |field: &'static str, text: &Option<String>| {
            text.as_deref()
                .map(|text| Frame::parse(field, text))
                .transpose()
        };
        Ok(Self {
            pattern: rule
                .pattern
                .as_deref()
                .map(whole_match)
                .transpose()
                .map_err(|e| ("pattern", e))?,
            common_name: frame("commonName", &rule.common_name)?,
            value: frame("value", &rule.value)?,
        })
    }

    /// The registration ID that a common name asks for.
    pub fn id_of(&self, common_name: &str) -> Result<RegistrationId, Refusal> {
        let device = match &self.common_name {
            None => common_name,
            Some(frame) => frame.take(common_name).ok_or_else(|| {
                Refusal::new(
                    Reason::InvalidRegistrationId,
                    format!(
                        "the common name {common_name:?} is not of the form {:?}, which this group asks for",
                        frame.fill(PLACEHOLDER)
                    ),
                )
            })?,
        };
        // What is certified is named after the device alone, so it must be well-formed by itself.
        RegistrationId::parse(device)?;
        match &self.value {
            None => RegistrationId::parse(device),
            Some(frame) => RegistrationId::parse(&frame.fill(device)),
        }
    }

    /// The common name that leads to an ID: what a client of this device must write into its CSR. `device` is what `${device}`
    /// stands for.
    pub fn common_name_for(&self, device: &str) -> String {
        match &self.common_name {
            None => device.into(),
            Some(frame) => frame.fill(device),
        }
    }

    /// The device that an ID stands for: what `${device}` was filled with.
    pub fn device_of<'i>(&self, id: &'i RegistrationId) -> &'i str {
        self.value
            .as_ref()
            .and_then(|frame| frame.take(id.as_str()))
            .unwrap_or(id.as_str())
    }

    /// Whether the ID matches the group's pattern. Case does not matter.
    pub fn takes(&self, id: &RegistrationId) -> bool {
        self.pattern
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(id.folded().as_bytes()))
    }
}

/// How much memory a pattern may take. A group may have hundreds of them, and the operator many groups of many owners.
const HEAVIEST: usize = 32 * 1024;

/// A bounded regular expression that must match the whole of an ID, in any case. An ID is ASCII, and so are classes such as
/// `\w`: with all of Unicode they take a hundred times as much.
///
/// # Errors
/// If it is none, or too large. The error is a sentence.
pub fn whole_match(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .case_insensitive(true)
            .unicode(false)
            .size_limit(HEAVIEST)
            .build()
            .map_err(|error| {
                format!(
                    "'{pattern}' is no regular expression that can be used: {}",
                    why(&error)
                )
            })
    };
    // Alone first: the parentheses of `a)|(b` would pair with those around it.
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}

/// What is wrong with a pattern. The library draws it over several lines, and says it in the last.
pub(super) fn why(error: &regex::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once("error: ") {
        Some((_, why)) => why.into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_pattern_is_said_in_one_line() {
        for (pattern, expected) in [
            ("cam-[", "unclosed character class"),
            ("cam-(", "unclosed group"),
            ("(?P<a>x)(?P<a>y)", "duplicate capture group name"),
            ("[a-z]{1000}", "exceeds size limit"),
        ] {
            let error = whole_match(pattern).unwrap_err();
            assert!(
                error.contains(&format!("'{pattern}' is no")) && error.contains(expected),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn patterns_are_light() {
        for pattern in [r"\w{60}", r"[a-z0-9._:-]{1,64}", r"line\d+-[^x]+"] {
            assert!(whole_match(pattern).is_ok(), "{pattern}");
        }
        for pattern in [r"(?u)\w{5}", "[a-z]{1000}"] {
            assert!(whole_match(pattern).is_err(), "{pattern}");
        }
        let ids = whole_match(r"cam-\w+").unwrap();
        assert!(ids.is_match(b"CAM-k1") && !ids.is_match(b"cam-") && !ids.is_match(b"cam-1-2"));
    }

    #[test]
    fn a_pattern_cannot_leave_the_parentheses_around_it() {
        assert!(whole_match("a|b").unwrap().is_match(b"B"));
        assert!(!whole_match("a|b").unwrap().is_match(b"ab"));
        whole_match("a)|(b").unwrap_err();
    }

    fn edge() -> IdRule {
        IdRule::compile(&RegistrationIdRule {
            pattern: None,
            common_name: Some("iotedged workload ca ${device}".into()),
            value: Some("${device}-edge-ca".into()),
        })
        .unwrap()
    }

    #[test]
    fn without_a_template_the_common_name_is_the_id() {
        let id = IdRule::default().id_of("Sensor-1").unwrap();
        assert_eq!(id.as_str(), "Sensor-1");
        assert_eq!(IdRule::default().device_of(&id), "Sensor-1");
    }

    #[test]
    fn a_template_takes_the_device_out_of_the_common_name_and_makes_an_id_of_it() {
        let id = edge().id_of("iotedged workload ca Edge-1").unwrap();
        assert_eq!(id.as_str(), "Edge-1-edge-ca");
        assert_eq!(edge().device_of(&id), "Edge-1");
    }

    #[test]
    fn other_common_names_are_refused_in_words() {
        for name in [
            "edge-1",
            "iotedged workload ca ",
            "iotedged workload ca a b",
            "xiotedged workload ca a",
            "é",
        ] {
            let refusal = edge().id_of(name).unwrap_err();
            assert_eq!(refusal.reason, Reason::InvalidRegistrationId, "{name}");
        }
    }

    #[test]
    fn templates_have_exactly_one_placeholder() {
        for text in [
            "none",
            "${device} ${device}",
            "${device} ${group}",
            "${other}",
        ] {
            let rule = RegistrationIdRule {
                common_name: Some(text.into()),
                ..RegistrationIdRule::default()
            };
            assert!(IdRule::compile(&rule).is_err(), "{text}");
        }
    }
}
