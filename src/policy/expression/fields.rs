//! The fields that an expression names, in values that look like those it will see.

use cel::{
    Value,
    common::ast::{Expr, IdedExpr},
    objects::Key,
};

use super::{Variable, children};

/// Every field that is named must be there: the library takes a field of a text for false, so a slip would open a door.
pub(super) fn check(expression: &IdedExpr, samples: &[Variable]) -> Result<(), String> {
    if let Expr::Select(select) = &expression.expr {
        let whole = sample_of(&select.operand.expr, samples)?;
        match whole {
            Value::Map(fields) => {
                // Labels are whatever the device has.
                let is_open = fields.map.is_empty();
                let known = fields
                    .map
                    .keys()
                    .any(|key| *key == Key::from(select.field.as_str()));
                if !known && !is_open {
                    let mut names: Vec<String> =
                        fields.map.keys().map(ToString::to_string).collect();
                    names.sort();
                    return Err(format!(
                        "there is no field '{}': use {}",
                        select.field,
                        names.join(", ")
                    ));
                }
                if is_open && !select.test {
                    return Err(format!(
                        "a device may lack the label '{0}': ask for it with 'name' in device.labels && device.labels['name'] == …",
                        select.field
                    ));
                }
            }
            _ => {
                return Err(format!(
                    "'{}' is asked of something that has no fields",
                    select.field
                ));
            }
        }
    }
    children(&expression.expr)
        .into_iter()
        .try_for_each(|child| check(child, samples))
}

/// What a chain of fields leads to, in the samples.
pub(super) fn sample_of(expression: &Expr, samples: &[Variable]) -> Result<Value, String> {
    let nothing = || "fields may be named only of the variables themselves".to_string();
    match expression {
        Expr::Ident(name) => samples
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .ok_or_else(nothing),
        Expr::Select(select) => match sample_of(&select.operand.expr, samples)? {
            Value::Map(fields) => fields
                .map
                .get(&Key::from(select.field.as_str()))
                .cloned()
                .ok_or_else(nothing),
            _ => Err(nothing()),
        },
        _ => Err(nothing()),
    }
}
