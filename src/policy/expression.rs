//! CEL expressions in a group's rules and mappings: compiled once, and bounded by construction, since the library counts no
//! costs. An expression is short, nests little, loops once, and sees small values.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cel::{
    Context, Program, Value,
    common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue},
    objects::Key,
};

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 1024;
/// How deep brackets may nest, and how many prefix operators and conditionals there may be: the parser is recursive.
const MAX_DEPTH: usize = 16;
const MAX_OPERATORS: usize = 32;

/// How big a compiled pattern may be, in bytes, and how many there may be: each is compiled at each use.
const MAX_PATTERN: usize = 16 * 1024;
const MAX_PATTERNS: usize = 4;

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
}

/// The functions that rules may call; operators and loops come beside them.
const FUNCTIONS: [&str; 5] = ["startsWith", "endsWith", "contains", "matches", "size"];

/// Something that an expression can see: a name, and a value made of text, lists and maps.
pub type Variable = (&'static str, Value);

impl Expression {
    /// Compiles an expression over variables that look like these samples. Whatever the library would take for false or an error
    /// only when a device comes, such as a misspelt field, is an error here. The error is a sentence.
    pub fn compile(text: &str, samples: &[Variable]) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("the expression has more than {MAX_LENGTH} bytes"));
        }
        check_brackets(text)?;
        let program = catch_unwind(AssertUnwindSafe(|| Program::compile(text)))
            .map_err(|_| "the CEL compiler gave up on the expression".to_string())?
            .map_err(|errors| format!("not valid CEL: {}", one_line(&errors.to_string())))?;
        let names: Vec<&str> = samples.iter().map(|(name, _)| *name).collect();
        let references = program.references();
        if let Some(unknown) = references
            .variables()
            .iter()
            .find(|name| !names.contains(name) && !is_loop_variable(program.expression(), name))
        {
            return Err(format!(
                "the variable '{unknown}' does not exist: use {}",
                names.join(", ")
            ));
        }
        if let Some(unknown) = references
            .functions()
            .iter()
            .find(|name| name.starts_with(|c: char| c.is_alphabetic()) && !FUNCTIONS.contains(name))
        {
            return Err(format!(
                "the function '{unknown}' does not exist: use {}",
                FUNCTIONS.join(", ")
            ));
        }
        check_fields(program.expression(), samples)?;
        check_cost(program.expression(), Place::Outside)?;
        drop(references);
        Ok(Self {
            text: text.into(),
            program: Arc::new(program),
        })
    }

    /// The same, for an expression that must be true or false.
    pub fn condition(text: &str, samples: &[Variable]) -> Result<Self, String> {
        let compiled = Self::compile(text, samples)?;
        match compiled.value(samples) {
            Ok(Value::Bool(_)) => Ok(compiled),
            Ok(other) => Err(format!("it gives {:?}, not true or false", other.type_of())),
            Err(why) => Err(why),
        }
    }

    /// The same, for an expression that must give text.
    pub fn of_text(text: &str, samples: &[Variable]) -> Result<Self, String> {
        let compiled = Self::compile(text, samples)?;
        match compiled.value(samples) {
            Ok(Value::String(_)) => Ok(compiled),
            Ok(other) => Err(format!("it gives {:?}, not text", other.type_of())),
            Err(why) => Err(why),
        }
    }

    /// The value of the expression. The error is a sentence for the group's owner.
    fn value(&self, variables: &[Variable]) -> Result<Value, String> {
        let mut context = Context::default();
        for (name, value) in variables {
            context.add_variable_from_value(*name, value.clone());
        }
        catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)))
            .map_err(|_| "its evaluation broke off".to_string())?
            .map_err(|error| one_line(&error.to_string()))
    }

    /// Whether the expression is true.
    pub fn is_true(&self, variables: &[Variable]) -> Result<bool, String> {
        match self.value(variables)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(format!("it gives {:?}, not true or false", other.type_of())),
        }
    }

    /// The text that the expression gives.
    pub fn text(&self, variables: &[Variable]) -> Result<String, String> {
        match self.value(variables)? {
            Value::String(text) => Ok(text.to_string()),
            other => Err(format!("it gives {:?}, not text", other.type_of())),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({})", self.text)
    }
}

/// Text as a value.
pub fn text(text: impl Into<String>) -> Value {
    Value::String(Arc::new(text.into()))
}

/// A list of texts as a value.
pub fn texts<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Value {
    Value::List(Arc::new(items.into_iter().map(text).collect()))
}

/// Named values as one.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields: std::collections::HashMap<String, Value> = fields
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect();
    Value::Map(fields.into())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn check_brackets(text: &str) -> Result<(), String> {
    let (mut depth, mut deepest, mut operators) = (0_usize, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'!' | b'-' | b'?' => operators += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > MAX_DEPTH {
        return Err(format!("brackets nest more than {MAX_DEPTH} deep"));
    }
    if text.matches("matches").count() > MAX_PATTERNS {
        return Err(format!(
            "there are more than {MAX_PATTERNS} calls of matches"
        ));
    }
    if operators > MAX_OPERATORS {
        return Err(format!(
            "there are more than {MAX_OPERATORS} of the characters ! - ?"
        ));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    InLoop,
}

/// A loop (all, exists, map, filter …) runs over a bounded list; one inside another would multiply, and a list that is written out
/// would be as long as the expression. `matches` compiles its pattern anew each time, so the pattern must be known, cheap, and
/// outside loops.
fn check_cost(expression: &IdedExpr, place: Place) -> Result<(), String> {
    let inside = match &expression.expr {
        Expr::Comprehension(_) if place == Place::InLoop => {
            return Err("all, exists, map and filter must not stand inside one another".into());
        }
        Expr::Comprehension(inner) => {
            if !is_variable(&inner.iter_range.expr) {
                return Err(
                    "all, exists, map and filter must run over a variable, such as csr.dnsNames"
                        .into(),
                );
            }
            Place::InLoop
        }
        Expr::Call(call) if call.func_name == "matches" => {
            check_pattern(call, place)?;
            place
        }
        _ => place,
    };
    children(&expression.expr)
        .into_iter()
        .try_for_each(|child| check_cost(child, inside))
}

/// Every field that is named must be there: the library takes a field of a text for false, so a slip would open a door.
fn check_fields(expression: &IdedExpr, samples: &[Variable]) -> Result<(), String> {
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
        .try_for_each(|child| check_fields(child, samples))
}

/// What a chain of fields leads to, in the samples.
fn sample_of(expression: &Expr, samples: &[Variable]) -> Result<Value, String> {
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

fn is_variable(expression: &Expr) -> bool {
    match expression {
        Expr::Ident(_) => true,
        Expr::Select(select) => is_variable(&select.operand.expr),
        _ => false,
    }
}

fn check_pattern(call: &CallExpr, place: Place) -> Result<(), String> {
    if place == Place::InLoop {
        return Err("matches must not stand inside all, exists, map or filter: use startsWith, endsWith or contains there".into());
    }
    let pattern = match call.args.last().map(|argument| &argument.expr) {
        Some(Expr::Literal(LiteralValue::String(pattern))) => pattern.inner(),
        _ => return Err("matches needs a pattern that is written out".into()),
    };
    regex::RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN)
        .build()
        .map(|_| ())
        .map_err(|e| format!("the pattern of matches: {}", one_line(&e.to_string())))
}

fn is_loop_variable(expression: &IdedExpr, name: &str) -> bool {
    if let Expr::Comprehension(inner) = &expression.expr
        && (inner.iter_var == name
            || inner.accu_var == name
            || inner.iter_var2.as_deref() == Some(name))
    {
        return true;
    }
    children(&expression.expr)
        .into_iter()
        .any(|child| is_loop_variable(child, name))
}

fn children(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::Comprehension(inner) => vec![
            &inner.iter_range,
            &inner.accu_init,
            &inner.loop_cond,
            &inner.loop_step,
            &inner.result,
        ],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => entries(&map.entries),
        Expr::Struct(made) => entries(&made.entries),
        Expr::Select(select) => vec![&select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entries(entries: &[cel::common::ast::IdedEntryExpr]) -> Vec<&IdedExpr> {
    entries
        .iter()
        .flat_map(|entry| match &entry.expr {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csr() -> Vec<Variable> {
        vec![
            (
                "csr",
                object([
                    ("commonName", text("camera-1")),
                    ("dnsNames", texts(["a.example", "b.example"])),
                    ("key", object([("algorithm", text("ECDSA-P256"))])),
                ]),
            ),
            ("device", object([("name", text("camera-1"))])),
        ]
    }

    fn is_true(expression: &str) -> Result<bool, String> {
        Expression::compile(expression, &csr())?.is_true(&csr())
    }

    #[test]
    fn rules_see_what_they_are_given() {
        for (expression, expected) in [
            ("csr.commonName == device.name", true),
            ("csr.key.algorithm.startsWith('RSA')", false),
            ("csr.dnsNames.all(name, name.endsWith('.example'))", true),
            ("csr.dnsNames.exists(n, n == 'c.example')", false),
            ("csr.commonName.matches('^camera-[0-9]+$')", true),
            ("size(csr.dnsNames) <= 2 && !('x' in csr.dnsNames)", true),
        ] {
            assert_eq!(is_true(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_bounded_does_not_compile() {
        let nested = "csr.dnsNames.all(a, csr.dnsNames.all(b, a == b))";
        let (deep, long, prefixed) = (
            format!("{}true{}", "(".repeat(17), ")".repeat(17)),
            format!("true{}", " ".repeat(1024)),
            format!("{}true", "!".repeat(33)),
        );
        for (expression, word) in [
            (nested, "inside one another"),
            (&deep, "nest more than"),
            (&long, "more than 1024 bytes"),
            (&prefixed, "more than 32"),
            (
                "[1, 2].all(i, csr.commonName != 'x')",
                "must run over a variable",
            ),
            ("csr.commonName.matches(csr.commonName)", "written out"),
            ("csr.dnsNames.all(n, n.matches('a'))", "inside all"),
            (
                r"csr.commonName.matches('[\\w]{150}x')",
                "the pattern of matches",
            ),
            ("csr.commonName ==", "not valid CEL"),
            (
                "request.user == 'x'",
                "'request' does not exist: use csr, device",
            ),
            ("", "not valid CEL"),
        ] {
            let error = Expression::condition(expression, &csr()).unwrap_err();
            assert!(error.contains(word), "{expression}: {error}");
        }
    }

    #[test]
    fn an_expression_of_the_wrong_kind_is_an_error_and_no_panic() {
        for expression in [
            "csr.commonName",
            "csr.missing == 'x'",
            "1 / 0 == 1",
            "csr.dnsNames[7] == 'x'",
        ] {
            assert!(is_true(expression).is_err(), "{expression}");
        }
        let id = Expression::of_text("csr.commonName + '-x'", &csr()).unwrap();
        assert_eq!(id.text(&csr()), Ok("camera-1-x".into()));
        assert!(id.is_true(&csr()).is_err());
    }
}
