//! Names with placeholders: `O=Example,CN=${registrationId}`.

use std::fmt;

use super::attribute::{Attribute, Value};
use super::{Name, NameError, text};

/// The placeholders that a template may use.
pub const PLACEHOLDERS: [&str; 4] = ["registrationId", "device", "namespace", "group"];

/// A distinguished name with `${...}` in some of its values.
///
/// The text is taken apart before anything is filled in, so a value can never add an attribute, whatever it contains.
#[derive(Clone, PartialEq, Eq)]
pub struct NameTemplate {
    text: String,
    rdns: Vec<Vec<Attribute>>,
}

impl NameTemplate {
    /// Reads a name in either form of [`Name::parse`] whose values may contain the [`PLACEHOLDERS`].
    ///
    /// # Errors
    /// [`NameError::UnknownPlaceholder`], or what [`Name::parse`] says about the parts without placeholder.
    pub fn parse(template: &str) -> Result<Self, NameError> {
        let rdns = text::parse(template)?;
        for attribute in rdns.iter().flatten() {
            let Value::Text(value) = &attribute.value else {
                continue;
            };
            fill(value, |name| match PLACEHOLDERS.contains(&name) {
                true => Ok(""),
                false => Err(NameError::UnknownPlaceholder {
                    placeholder: name.to_owned(),
                }),
            })?;
        }
        let is_fixed = |attribute: &&Attribute| !matches!(&attribute.value, Value::Text(value) if value.contains("${"));
        let fixed: Vec<Vec<_>> = rdns
            .iter()
            .map(|rdn| rdn.iter().filter(is_fixed).cloned().collect())
            .collect();
        Name::encode(&fixed)?;
        Ok(Self {
            text: template.to_owned(),
            rdns,
        })
    }

    /// The name with every placeholder replaced by its value in `vars`, a list of (placeholder, value).
    ///
    /// # Errors
    /// [`NameError::NoValue`] for a placeholder that `vars` lacks; [`NameError::Empty`],
    /// [`NameError::TooManyCharacters`] or [`NameError::Character`] if a value does not fit its attribute.
    pub fn render(&self, vars: &[(&str, &str)]) -> Result<Name, NameError> {
        let mut rdns = self.rdns.clone();
        for attribute in rdns.iter_mut().flatten() {
            let Value::Text(value) = &mut attribute.value else {
                continue;
            };
            *value = fill(value, |name| {
                let var = vars.iter().find(|(placeholder, _)| *placeholder == name);
                var.map(|(_, value)| *value)
                    .ok_or_else(|| NameError::NoValue {
                        placeholder: name.to_owned(),
                    })
            })?;
        }
        Name::encode(&rdns)
    }
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameTemplate({})", self.text)
    }
}

impl std::str::FromStr for NameTemplate {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// Replaces each `${name}` once; what is filled in is not looked at again.
fn fill<'v>(
    text: &str,
    value_of: impl Fn(&str) -> Result<&'v str, NameError>,
) -> Result<String, NameError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| NameError::UnknownPlaceholder {
                placeholder: format!("${{{after}"),
            })?;
        filled.push_str(before);
        filled.push_str(value_of(name)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_template_fills_values_and_nothing_else() {
        let template =
            NameTemplate::parse("CN=${registrationId},OU=${group}-${namespace},O=Example").unwrap();
        let vars = [
            ("registrationId", "a,O=evil+CN=x/${group}#"),
            ("namespace", "n"),
            ("group", "g"),
        ];
        let rendered = template.render(&vars).unwrap();
        assert_eq!(
            rendered.common_name().as_deref(),
            Some("a,O=evil+CN=x/${group}#")
        );
        assert_eq!(rendered.attributes().len(), 3);
        assert_eq!(rendered.attributes()[1].1, "g-n");
        assert_eq!(template.to_string().parse(), Ok(template));
        assert_eq!(
            NameTemplate::parse("/O=Example/CN=${registrationId}")
                .unwrap()
                .render(&vars)
                .unwrap()
                .attributes()
                .len(),
            2
        );
    }

    #[test]
    fn a_template_refuses_unknown_placeholders_and_values_that_do_not_fit() {
        let unknown = |placeholder: &str| NameError::UnknownPlaceholder {
            placeholder: placeholder.to_owned(),
        };
        assert_eq!(NameTemplate::parse("CN=${id}"), Err(unknown("id")));
        assert_eq!(
            NameTemplate::parse("CN=${registrationId"),
            Err(unknown("${registrationId"))
        );
        assert_eq!(NameTemplate::parse("CN=${}"), Err(unknown("")));
        assert!(matches!(
            NameTemplate::parse("${group}=a"),
            Err(NameError::UnknownAttribute { .. })
        ));
        assert!(matches!(
            NameTemplate::parse("C=Germany,CN=${group}"),
            Err(NameError::Country { .. })
        ));

        let template = NameTemplate::parse("CN=${registrationId}").unwrap();
        let render = |value: &str| template.render(&[("registrationId", value)]);
        assert!(matches!(render(""), Err(NameError::Empty { .. })));
        assert!(matches!(render("a\0b"), Err(NameError::Character { .. })));
        assert!(render(&"x".repeat(64)).is_ok());
        assert!(matches!(
            render(&"x".repeat(65)),
            Err(NameError::TooManyCharacters { .. })
        ));
        assert_eq!(
            template.render(&[]),
            Err(NameError::NoValue {
                placeholder: "registrationId".to_owned()
            })
        );
    }

    proptest! {
        #[test]
        fn a_filled_template_has_the_attributes_of_the_template(value in r#"[ -~ä漢\\,+"<>;=/#$\{\}]{1,20}"#) {
            let template = NameTemplate::parse("O=Example,CN=${registrationId}+UID=x").unwrap();
            let rendered = template.render(&[("registrationId", &value)]).unwrap();
            prop_assert_eq!(rendered.attributes().len(), 3);
            prop_assert_eq!(rendered.common_name(), Some(value));
        }
    }
}
