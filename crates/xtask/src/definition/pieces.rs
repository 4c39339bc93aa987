//! What an expression names: the variables it reads.

use std::collections::BTreeSet;

/// The expression inside `{% … %}`.
pub(super) fn expression(text: &str) -> Option<&str> {
    text.strip_prefix("{%")?.strip_suffix("%}")
}

/// The machine's variables that an expression reads: what it binds itself, functions and texts are none.
pub(super) fn variables(expression: &str) -> BTreeSet<String> {
    let code = without_texts(expression);
    let (mut read, mut bound) = (BTreeSet::new(), BTreeSet::from(["states".to_owned()]));
    for (at, _) in code.match_indices('$') {
        let rest = code.get(at + 1..).unwrap_or_default();
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let after = rest.get(name.len()..).unwrap_or_default().trim_start();
        if after.starts_with(":=") {
            bound.insert(name);
        } else if !name.is_empty() && !after.starts_with('(') {
            read.insert(name);
        }
    }
    // The parameters of a function of the expression's own.
    for (at, _) in code.match_indices("function(") {
        let rest = code.get(at + "function(".len()..).unwrap_or_default();
        let parameters = rest.split(')').next().unwrap_or_default();
        bound.extend(parameters.split(',').map(|name| name.trim().trim_start_matches('$').to_owned()));
    }
    read.difference(&bound).cloned().collect()
}

/// Whether an operator of newer JSONata stands in the code, where Step Functions has none.
pub(super) fn newer_operator(expression: &str) -> Option<&'static str> {
    let code = without_texts(expression);
    ["?:", "??"].into_iter().find(|operator| code.contains(operator))
}

/// The code, with every text in quotes emptied.
fn without_texts(expression: &str) -> String {
    let mut code = String::new();
    let mut quote = None;
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        match quote {
            None => {
                if matches!(character, '\'' | '"') {
                    quote = Some(character);
                }
                code.push(character);
            }
            Some(_) if character == '\\' => drop(characters.next()),
            Some(open) if character == open => {
                quote = None;
                code.push(character);
            }
            Some(_) => {}
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: &[&str]) {
        assert_eq!(variables(expression).into_iter().collect::<Vec<_>>(), expected, "{expression}");
    }

    #[test]
    fn only_the_machines_variables_are_named() {
        check("$a > 0 and $b_1 = 'is $c'", &["a", "b_1"]);
        check("$string($run) & $states.context.Execution.Name & $", &["run"]);
        check("($x := $a; $map($list, function($v, $i) { $v + $x }))", &["a", "list"]);
        check("'it\\'s $a' & \"$b\"", &[]);
    }

    #[test]
    fn a_question_in_a_text_is_no_operator() {
        assert_eq!(newer_operator("$a ?: 1"), Some("?:"));
        assert_eq!(newer_operator("$a ? 'really??' : 1"), None);
    }
}
