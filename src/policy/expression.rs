//! CEL expressions in a group's rules and mappings: compiled once, and bounded by construction, since the library counts no
//! costs. An expression is short, nests little, has few loops, and sees small values.
//!
//! They are evaluated where decisions are made, on the async threads. The costliest found within the bounds took 6 ms in a test
//! build, most took 1 to 2; before lists and additions were bounded, it was 4 s with 128 names and a minute with 3,000. A group
//! with 16 rules of that kind holds a thread for a tenth of a second: whoever may write groups can slow enrolment down, not stop it.

mod words;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cel::{
    Context, Program, Value,
    common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators},
    objects::Key,
};

use super::id_rule;

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 1024;
/// How deep brackets may nest, and how many prefix operators and conditionals there may be: the parser is recursive.
const MAX_DEPTH: usize = 16;
const MAX_OPERATORS: usize = 32;

/// How big a compiled pattern may be, in bytes, and how many there may be: each is compiled at each use.
const MAX_PATTERN: usize = 16 * 1024;
const MAX_PATTERNS: usize = 4;

/// How many loops (all, exists, map, filter …) there may be: map and filter copy what they have so far at each step.
const MAX_LOOPS: usize = 4;
/// How many additions there may be: each copies both sides. A loop of map or filter has one of its own.
const MAX_ADDITIONS: usize = 12;
/// How many items a list or map may have that an expression sees, and how many bytes a text. No certificate has more names.
const MAX_ITEMS: usize = 96;
const MAX_TEXT: usize = 2048;

/// How many items a list may have that is written out inside a loop, where it is made anew each time, and how many of those there
/// may be.
const MAX_WRITTEN: usize = 16;
const MAX_LISTS: usize = 8;
const NO_LISTS: &str = "inside all, exists, map and filter stand texts, device.labels['name'] and short lists of texts: look through \
     whole lists outside";

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
        words::check(program.expression())?;
        check_cost(program.expression(), Place::Outside, samples)?;
        check_counts(program.expression())?;
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
            check_size(value)?;
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
    /// In a list that is written out in a loop. `map` and `filter` put each item into one.
    InListInLoop,
}

/// A loop (all, exists, map, filter …) runs over a bounded list; one inside another would multiply, and so would a whole list
/// inside one. A list that is written out would be as long as the expression. `matches` compiles its pattern anew each time, so
/// the pattern must be known, cheap, and outside loops.
fn check_cost(expression: &IdedExpr, place: Place, samples: &[Variable]) -> Result<(), String> {
    let in_loop = place != Place::Outside;
    if in_loop && is_variable(&expression.expr) {
        // What is no sample is the loop's own.
        return match sample_of(&expression.expr, samples) {
            Ok(Value::List(_) | Value::Map(_)) => Err(NO_LISTS.into()),
            _ => Ok(()),
        };
    }
    match &expression.expr {
        Expr::Comprehension(_) if in_loop => {
            return Err("all, exists, map and filter must not stand inside one another".into());
        }
        Expr::Comprehension(inner) => {
            if !is_variable(&inner.iter_range.expr) {
                return Err(
                    "all, exists, map and filter must run over a variable, such as csr.dnsNames"
                        .into(),
                );
            }
            let inside = [
                &inner.accu_init,
                &inner.loop_cond,
                &inner.loop_step,
                &inner.result,
            ];
            return inside
                .into_iter()
                .try_for_each(|child| check_cost(child, Place::InLoop, samples));
        }
        Expr::Call(call) if call.func_name == "matches" => check_pattern(call, place)?,
        // One label, which is found at once.
        Expr::Call(call)
            if in_loop
                && call.func_name == operators::INDEX
                && call
                    .args
                    .first()
                    .is_some_and(|whole| is_variable(&whole.expr)) =>
        {
            let mut keys = call.args.iter().skip(1);
            return keys.try_for_each(|key| check_cost(key, place, samples));
        }
        // Lists of lists are copied whole at each step.
        Expr::List(_) if place == Place::InListInLoop => return Err(NO_LISTS.into()),
        Expr::Map(_) | Expr::Struct(_) if in_loop => return Err(NO_LISTS.into()),
        Expr::List(list) if in_loop => {
            if list.elements.len() > MAX_WRITTEN {
                return Err(format!(
                    "a list inside all, exists, map or filter has more than {MAX_WRITTEN} items"
                ));
            }
            let mut items = list.elements.iter();
            return items.try_for_each(|item| check_cost(item, Place::InListInLoop, samples));
        }
        _ => {}
    }
    children(&expression.expr)
        .into_iter()
        .try_for_each(|child| check_cost(child, place, samples))
}

fn check_counts(expression: &IdedExpr) -> Result<(), String> {
    fn count(expression: &IdedExpr, counted: fn(&Expr) -> bool) -> usize {
        let below = children(&expression.expr).into_iter();
        usize::from(counted(&expression.expr))
            + below.map(|child| count(child, counted)).sum::<usize>()
    }
    let loops = count(expression, |e| matches!(e, Expr::Comprehension(_)));
    if loops > MAX_LOOPS {
        return Err(format!(
            "there are more than {MAX_LOOPS} of all, exists, map and filter"
        ));
    }
    let lists = count(expression, |e| matches!(e, Expr::List(_)));
    if loops > 0 && lists > MAX_LISTS {
        return Err(format!(
            "beside all, exists, map or filter there are more than {MAX_LISTS} lists"
        ));
    }
    let is_addition = |e: &Expr| matches!(e, Expr::Call(call) if call.func_name == operators::ADD);
    if count(expression, is_addition) > MAX_ADDITIONS {
        return Err(format!("there are more than {MAX_ADDITIONS} additions"));
    }
    Ok(())
}

/// Values come from requests, so their size is looked at each time.
fn check_size(value: &Value) -> Result<(), String> {
    let items = |count: usize| match count {
        0..=MAX_ITEMS => Ok(()),
        _ => Err(format!(
            "a list or the labels have {count} items, and expressions take at most {MAX_ITEMS}"
        )),
    };
    match value {
        Value::String(text) if text.len() > MAX_TEXT => Err(format!(
            "a text has {} bytes, and expressions take at most {MAX_TEXT}",
            text.len()
        )),
        Value::List(list) => {
            items(list.len())?;
            list.iter().try_for_each(check_size)
        }
        Value::Map(map) => {
            items(map.map.len())?;
            map.map.values().try_for_each(check_size)
        }
        _ => Ok(()),
    }
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
        .map_err(|e| format!("the pattern of matches: {}", id_rule::why(&e)))
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
