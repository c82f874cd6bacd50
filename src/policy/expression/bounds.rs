//! How much an expression may cost: what it may be made of, and how big the values may be that it sees.

use cel::{
    Value,
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
};

use super::{Variable, children, fields};
use crate::policy::id_rule;

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 1024;
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

/// Before it is parsed.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the expression has more than {MAX_LENGTH} bytes"));
    }
    check_brackets(text)
}

/// Before it is evaluated for the first time.
pub(super) fn check(expression: &IdedExpr, samples: &[Variable]) -> Result<(), String> {
    check_cost(expression, Place::Outside, samples)?;
    check_counts(expression)
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
        return match fields::sample_of(&expression.expr, samples) {
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
pub(super) fn check_value(value: &Value) -> Result<(), String> {
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
            list.iter().try_for_each(check_value)
        }
        Value::Map(map) => {
            items(map.map.len())?;
            map.map.values().try_for_each(check_value)
        }
        _ => Ok(()),
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
