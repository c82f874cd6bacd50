//! CEL expressions in a group's rules and mappings: compiled once, and bounded by construction, since the library counts no
//! costs. An expression is short, nests little, has few loops, and sees small values.
//!
//! They are evaluated where decisions are made, on the async threads. The costliest found within the bounds took 6 ms in a test
//! build, most took 1 to 2; before lists and additions were bounded, it was 4 s with 128 names and a minute with 3,000. A group
//! with 16 rules of that kind holds a thread for a tenth of a second: whoever may write groups can slow enrolment down, not stop it.

mod bounds;
mod fields;
mod words;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cel::{
    Context, Program, Value,
    common::ast::{EntryExpr, Expr, IdedExpr},
};

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
        bounds::check_text(text)?;
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
        fields::check(program.expression(), samples)?;
        words::check(program.expression())?;
        bounds::check(program.expression(), samples)?;
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
            bounds::check_value(value)?;
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
            ("labels", object([("site", text("example"))])),
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
            (
                "csr.dnsNames.exists(n, n == device.name + '.example')",
                false,
            ),
            ("size(csr.dnsNames.filter(n, n.startsWith('a'))) == 1", true),
            ("csr.dnsNames.all(n, n.endsWith(labels['site']))", true),
            (
                "csr.dnsNames.filter(n, n in ['a.example', 'x']).size() == 1",
                true,
            ),
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
        let loops = ["csr.dnsNames.all(n, n != '')"; 5].join(" && ");
        let written = format!("csr.dnsNames.all(n, n in ['a'{}])", ", 'a'".repeat(16));
        let lists = format!("csr.dnsNames.all(n, true{})", " && n in ['a']".repeat(9));
        let additions = format!("csr.commonName{} != ''", " + 'a'".repeat(13));
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
            ("csr.dnsNames.all(n, n in csr.dnsNames)", "stand texts"),
            ("csr.dnsNames.all(n, csr == csr)", "stand texts"),
            (
                "csr.dnsNames.all(n, size(csr.dnsNames + csr.dnsNames) > 0)",
                "stand texts",
            ),
            (
                "csr.dnsNames.all(n, (csr.dnsNames + csr.dnsNames)[0] == n)",
                "stand texts",
            ),
            ("csr.dnsNames.map(n, [n])[0] == ['a']", "stand texts"),
            ("csr.dnsNames.map(n, {'a': n})[0] == {}", "stand texts"),
            (&written, "more than 16 items"),
            (&lists, "more than 8 lists"),
            (&loops, "more than 4 of all"),
            (&additions, "more than 12 additions"),
            ("csr.commonName ==", "not valid CEL"),
            (
                "request.user == 'x'",
                "'request' does not exist: use csr, device, labels",
            ),
            ("", "not valid CEL"),
        ] {
            let error = Expression::condition(expression, &csr()).unwrap_err();
            assert!(error.contains(word), "{expression}: {error}");
        }
    }

    #[test]
    fn values_that_are_too_big_are_an_error_when_they_come() {
        let with = |names: usize, length: usize| {
            let csr = object([
                ("commonName", text("x".repeat(length))),
                ("dnsNames", texts(vec!["a"; names])),
                ("key", object([("algorithm", text(""))])),
            ]);
            Expression::condition("csr.dnsNames.all(n, n != csr.commonName)", &self::csr())
                .unwrap()
                .is_true(&[("csr", csr), ("device", object([("name", text(""))]))])
        };
        assert_eq!(with(96, 2048), Ok(true));
        assert!(with(97, 1).unwrap_err().contains("97 items"));
        assert!(with(1, 2049).unwrap_err().contains("2049 bytes"));
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
