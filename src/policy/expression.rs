//! CEL expressions in a group's rules and mappings: compiled once, and bounded by construction, since the library counts no
//! costs. An expression is short, nests little, loops once, and sees small values.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cel::{
    Context, Program, Value,
    common::ast::{EntryExpr, Expr, IdedExpr},
};

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 1024;
/// How deep brackets may nest, and how many prefix operators and conditionals there may be: the parser is recursive.
const MAX_DEPTH: usize = 16;
const MAX_OPERATORS: usize = 32;

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
}

/// Something that an expression can see: a name, and a value made of text, lists and maps.
pub type Variable = (&'static str, Value);

impl Expression {
    /// Compiles an expression that may use these variables. The error is a sentence.
    pub fn compile(text: &str, variables: &[&str]) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("the expression has more than {MAX_LENGTH} bytes"));
        }
        check_brackets(text)?;
        let program = catch_unwind(AssertUnwindSafe(|| Program::compile(text)))
            .map_err(|_| "the CEL compiler gave up on the expression".to_string())?
            .map_err(|errors| format!("not valid CEL: {}", one_line(&errors.to_string())))?;
        let references = program.references();
        if let Some(unknown) = references
            .variables()
            .iter()
            .find(|name| !variables.contains(name) && !is_loop_variable(program.expression(), name))
        {
            return Err(format!(
                "the variable '{unknown}' does not exist: use {}",
                variables.join(", ")
            ));
        }
        check_loops(program.expression(), Loops::Allowed)?;
        drop(references);
        Ok(Self {
            text: text.into(),
            program: Arc::new(program),
        })
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
    if operators > MAX_OPERATORS {
        return Err(format!(
            "there are more than {MAX_OPERATORS} of the characters ! - ?"
        ));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loops {
    Allowed,
    Refused,
}

/// A loop (all, exists, map, filter …) runs over a bounded list; one inside another would multiply.
fn check_loops(expression: &IdedExpr, loops: Loops) -> Result<(), String> {
    if loops == Loops::Refused && matches!(expression.expr, Expr::Comprehension(_)) {
        return Err("all, exists, map and filter must not stand inside one another".into());
    }
    let inside = match expression.expr {
        Expr::Comprehension(_) => Loops::Refused,
        _ => loops,
    };
    children(&expression.expr)
        .into_iter()
        .try_for_each(|child| check_loops(child, inside))
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

    const VARIABLES: [&str; 2] = ["csr", "device"];

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
        Expression::compile(expression, &VARIABLES)?.is_true(&csr())
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
            ("csr.commonName ==", "not valid CEL"),
            (
                "request.user == 'x'",
                "'request' does not exist: use csr, device",
            ),
            ("", "not valid CEL"),
        ] {
            let error = Expression::compile(expression, &VARIABLES).unwrap_err();
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
            "csr.commonName.matches('(')",
        ] {
            assert!(is_true(expression).is_err(), "{expression}");
        }
        let id = Expression::compile("csr.commonName + '-x'", &VARIABLES).unwrap();
        assert_eq!(id.text(&csr()), Ok("camera-1-x".into()));
        assert!(id.is_true(&csr()).is_err());
    }
}
