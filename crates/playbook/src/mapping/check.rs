//! What a mapping may use: walks the tree once, refuses the rest and replaces what could make long texts.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

use super::MappingError;

/// The functions of JSONata that mappings may call. None reads a clock, draws lots, evaluates text or multiplies it.
pub const BUILT_INS: [&str; 44] = [
    "abs",
    "append",
    "average",
    "boolean",
    "ceil",
    "contains",
    "count",
    "distinct",
    "each",
    "exists",
    "filter",
    "floor",
    "fromMillis",
    "join",
    "keys",
    "length",
    "lookup",
    "lowercase",
    "map",
    "match",
    "max",
    "merge",
    "min",
    "not",
    "number",
    "power",
    "reverse",
    "round",
    "sift",
    "single",
    "sort",
    "split",
    "spread",
    "sqrt",
    "string",
    "substring",
    "substringAfter",
    "substringBefore",
    "sum",
    "toMillis",
    "trim",
    "type",
    "uppercase",
    "zip",
];

/// The rest of JSONata's functions: named, so that the message says "may not" and not "unknown".
const REFUSED: [&str; 21] = [
    "assert",
    "base64decode",
    "base64encode",
    "clone",
    "decodeUrl",
    "decodeUrlComponent",
    "encodeUrl",
    "encodeUrlComponent",
    "error",
    "eval",
    "formatBase",
    "formatInteger",
    "formatNumber",
    "millis",
    "now",
    "pad",
    "parseInteger",
    "random",
    "reduce",
    "replace",
    "shuffle",
];

/// Those of [`BUILT_INS`] whose values are numbers, truths and short texts; only they may be handed on as values.
const SCALARS: [&str; 20] = [
    "abs",
    "average",
    "boolean",
    "ceil",
    "contains",
    "count",
    "exists",
    "floor",
    "fromMillis",
    "length",
    "max",
    "min",
    "not",
    "number",
    "power",
    "round",
    "sqrt",
    "sum",
    "toMillis",
    "type",
];

/// Stands for `&`.
pub(super) const CONCATENATE: &str = "playbook_concatenate";
/// Stands for `$join`.
pub(super) const JOIN: &str = "playbook_join";
/// Stands for `$string`.
pub(super) const STRING: &str = "playbook_string";
/// Stands for `$distinct`, whose own takes the square of the list's length.
pub(super) const DISTINCT: &str = "playbook_distinct";
/// Stands around whatever makes a list, an object or a text.
pub(super) const KEEP: &str = "playbook_keep";
/// Stands around a text that is taken apart.
pub(super) const SHORT: &str = "playbook_short";

const NESTING: usize = 120;
/// Arguments of a call, and items of a list that are no constants.
const ARGUMENTS_MAX: usize = 20;
const ITEMS_MAX: usize = 100;

/// The tree with its capped functions, or the first thing in it that may not be used.
pub(super) fn harden(tree: AstNode) -> Result<AstNode, MappingError> {
    let mut walk = Walk::default();
    let tree = walk.node(tree, 0)?;
    match walk.used.into_iter().find(|name| !walk.bound.contains(name) && !BUILT_INS.contains(&name.as_str())) {
        Some(name) => Err(MappingError::Unknown(name)),
        None => Ok(tree),
    }
}

#[derive(Default)]
struct Walk {
    bound: BTreeSet<String>,
    used: BTreeSet<String>,
}

fn is_refused(name: &str) -> bool {
    REFUSED.contains(&name)
}

fn is_short(name: &str) -> bool {
    SCALARS.contains(&name) || !BUILT_INS.contains(&name)
}

fn around(name: &str, node: AstNode) -> AstNode {
    AstNode::Function { name: name.to_owned(), args: vec![node], is_builtin: true }
}

/// Whether an expression makes a list, an object or a text, and does not only name one.
fn makes_something(node: &AstNode) -> bool {
    match node {
        AstNode::Path { steps } => !matches!(
            steps.as_slice(),
            [PathStep { node: AstNode::Name(_) | AstNode::Variable(_), stages, .. }] if stages.is_empty()
        ),
        AstNode::Function { name, .. } => !is_short(name),
        AstNode::Binary { op, .. } => *op == BinaryOp::Range,
        AstNode::Array(_) | AstNode::Object(_) | AstNode::ObjectTransform { .. } | AstNode::Sort { .. } => true,
        _ => false,
    }
}

fn is_constant(node: &AstNode) -> bool {
    matches!(node, AstNode::String(_) | AstNode::Number(_) | AstNode::Boolean(_) | AstNode::Null)
}

fn refuse<T>(what: impl Into<String>) -> Result<T, MappingError> {
    Err(MappingError::Refused(what.into()))
}

impl Walk {
    /// The node, weighed where it makes something.
    fn node(&mut self, node: AstNode, depth: usize) -> Result<AstNode, MappingError> {
        let is_weighed = makes_something(&node);
        let node = self.bare(node, depth)?;
        Ok(if is_weighed { around(KEEP, node) } else { node })
    }

    fn bare(&mut self, node: AstNode, depth: usize) -> Result<AstNode, MappingError> {
        if depth > NESTING {
            return Err(MappingError::TooDeep);
        }
        let deeper = depth + 1;
        Ok(match node {
            leaf @ (AstNode::String(_)
            | AstNode::Name(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Regex { .. }
            | AstNode::ParentVariable(_)
            | AstNode::Parent(_)
            | AstNode::Wildcard) => leaf,
            AstNode::Descendant => return refuse("**"),
            AstNode::Placeholder => return refuse("? as an argument"),
            AstNode::Transform { .. } => return refuse("|…|…|"),
            AstNode::Variable(name) => {
                self.read(&name)?;
                if !is_short(&name) {
                    return refuse(format!("${name} as a value"));
                }
                AstNode::Variable(name)
            }
            AstNode::Path { steps } => {
                let steps = steps.into_iter().map(|step| self.step(step, deeper)).collect::<Result<_, _>>()?;
                AstNode::Path { steps }
            }
            AstNode::Binary { op, lhs, rhs } => self.binary(op, *lhs, *rhs, deeper)?,
            AstNode::Unary { op, operand } => AstNode::Unary { op, operand: self.boxed(*operand, deeper)? },
            AstNode::Function { name, args, is_builtin } => {
                if !is_builtin {
                    return refuse(format!("{name}() without $"));
                }
                self.read(&name)?;
                if args.len() > ARGUMENTS_MAX {
                    return refuse(format!("${name} with more than {ARGUMENTS_MAX} arguments"));
                }
                let mut args = self.nodes(args, deeper)?;
                if name == "split" || name == "match" {
                    // With one argument the context is the text.
                    let text = if args.len() > 1 { args.remove(0) } else { AstNode::Variable(String::new()) };
                    args.insert(0, around(SHORT, text));
                }
                let name = match name.as_str() {
                    "join" => JOIN.to_owned(),
                    "string" => STRING.to_owned(),
                    "distinct" => DISTINCT.to_owned(),
                    _ => name,
                };
                AstNode::Function { name, args, is_builtin }
            }
            AstNode::Call { procedure, args } => {
                AstNode::Call { procedure: self.boxed(*procedure, deeper)?, args: self.nodes(args, deeper)? }
            }
            AstNode::Lambda { params, body, signature, thunk } => {
                for name in &params {
                    self.bind(name)?;
                }
                AstNode::Lambda { params, body: self.boxed(*body, deeper)?, signature, thunk }
            }
            AstNode::Array(items) => {
                if items.iter().filter(|item| !is_constant(item)).count() > ITEMS_MAX {
                    return refuse(format!("a list of more than {ITEMS_MAX} expressions"));
                }
                // A list in a list stays one, which is told by how it is written.
                let item = |item| match item {
                    list @ AstNode::Array(_) => self.bare(list, deeper),
                    item => self.node(item, deeper),
                };
                AstNode::Array(items.into_iter().map(item).collect::<Result<_, _>>()?)
            }
            AstNode::ArrayGroup(items) => AstNode::ArrayGroup(self.nodes(items, deeper)?),
            AstNode::Block(items) => AstNode::Block(self.nodes(items, deeper)?),
            AstNode::Object(members) => AstNode::Object(self.pairs(members, deeper)?),
            AstNode::ObjectTransform { input, pattern } => AstNode::ObjectTransform {
                input: Box::new(self.bare(*input, deeper)?),
                pattern: self.pairs(pattern, deeper)?,
            },
            AstNode::Conditional { condition, then_branch, else_branch } => AstNode::Conditional {
                condition: self.boxed(*condition, deeper)?,
                then_branch: self.boxed(*then_branch, deeper)?,
                else_branch: else_branch.map(|branch| self.boxed(*branch, deeper)).transpose()?,
            },
            AstNode::FunctionApplication(inner) => AstNode::FunctionApplication(self.boxed(*inner, deeper)?),
            AstNode::Sort { input, terms } => {
                let terms = terms
                    .into_iter()
                    .map(|(term, ascending)| Ok((self.node(term, deeper)?, ascending)))
                    .collect::<Result<_, _>>()?;
                AstNode::Sort { input: Box::new(self.bare(*input, deeper)?), terms }
            }
        })
    }

    fn binary(&mut self, op: BinaryOp, lhs: AstNode, rhs: AstNode, depth: usize) -> Result<AstNode, MappingError> {
        match (op, lhs) {
            (BinaryOp::ChainPipe, _) => refuse("~>"),
            (BinaryOp::Concatenate, lhs) => {
                let args = vec![self.node(lhs, depth)?, self.node(rhs, depth)?];
                Ok(AstNode::Function { name: CONCATENATE.to_owned(), args, is_builtin: true })
            }
            (BinaryOp::ColonEqual, AstNode::Variable(name)) => {
                self.bind(&name)?;
                let lhs = Box::new(AstNode::Variable(name));
                Ok(AstNode::Binary { op, lhs, rhs: self.boxed(rhs, depth)? })
            }
            (op, lhs) => Ok(AstNode::Binary { op, lhs: self.boxed(lhs, depth)?, rhs: self.boxed(rhs, depth)? }),
        }
    }

    fn step(&mut self, step: PathStep, depth: usize) -> Result<PathStep, MappingError> {
        for name in step.focus.iter().chain(&step.index_var) {
            self.bind(name)?;
        }
        let stages = step.stages.into_iter().map(|stage| {
            Ok(match stage {
                Stage::Filter(filter) => Stage::Filter(Box::new(self.bare(*filter, depth)?)),
                Stage::KeepArray => Stage::KeepArray,
                Stage::Index(name) => {
                    self.bind(&name)?;
                    Stage::Index(name)
                }
            })
        });
        let stages = stages.collect::<Result<_, MappingError>>()?;
        Ok(PathStep { node: self.node(step.node, depth)?, stages, ..step })
    }

    fn boxed(&mut self, node: AstNode, depth: usize) -> Result<Box<AstNode>, MappingError> {
        Ok(Box::new(self.node(node, depth)?))
    }

    fn nodes(&mut self, nodes: Vec<AstNode>, depth: usize) -> Result<Vec<AstNode>, MappingError> {
        nodes.into_iter().map(|node| self.node(node, depth)).collect()
    }

    fn pairs(&mut self, pairs: Vec<(AstNode, AstNode)>, depth: usize) -> Result<Vec<(AstNode, AstNode)>, MappingError> {
        pairs.into_iter().map(|(name, value)| Ok((self.node(name, depth)?, self.node(value, depth)?))).collect()
    }

    /// A name is read: `$` alone is the context and always there.
    fn read(&mut self, name: &str) -> Result<(), MappingError> {
        if is_refused(name) {
            return refuse(format!("${name}"));
        }
        if !name.is_empty() {
            self.used.insert(name.to_owned());
        }
        Ok(())
    }

    /// A name is bound; a built-in's name stays what it is.
    fn bind(&mut self, name: &str) -> Result<(), MappingError> {
        if is_refused(name) || BUILT_INS.contains(&name) {
            return refuse(format!("binding ${name}"));
        }
        self.bound.insert(name.to_owned());
        Ok(())
    }
}
