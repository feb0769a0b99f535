//! Whether a record is wanted: the compiled filter, record by record.

use granary_engine::ReadError;

use super::compile::{Check, Filter, exact_name};
use super::record::{Record, Value};
use super::schema::{Many, Part};
use super::scope::{Element, Scope};
use super::test::Test;

impl Filter {
    /// Whether all conditions hold for a record.
    ///
    /// # Errors
    /// A related record could not be read.
    pub(crate) fn wants(
        &self,
        scope: &mut Scope<'_>,
        record: &Record<'_>,
    ) -> Result<bool, ReadError> {
        all(&self.conditions, scope, record)
    }
}

fn all(checks: &[Check], scope: &mut Scope<'_>, record: &Record<'_>) -> Result<bool, ReadError> {
    for check in checks {
        if !check.holds(scope, record)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Check {
    fn holds(&self, scope: &mut Scope<'_>, record: &Record<'_>) -> Result<bool, ReadError> {
        match self {
            Self::All(checks) => all(checks, scope, record),
            Self::Any(checks) => {
                for check in checks {
                    if check.holds(scope, record)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(check) => Ok(!check.holds(scope, record)?),
            Self::Column { hops, column, test } if hops.is_empty() => {
                Ok(test.passes(column.read(record), &mut scope.scratch))
            }
            Self::Column { hops, column, test } => {
                let related = scope.follow(record, hops)?;
                let value = related.as_ref().map_or(Value::Null, |related| column.read(related));
                Ok(test.passes(value, &mut scope.scratch))
            }
            Self::Some { hops, many, tests } => {
                let owner = scope.follow(record, hops)?;
                match owner {
                    Some(Record::Team(team)) if !hops.is_empty() => {
                        let (id, owner) = (team.id, Record::Team(team));
                        let condition = tests.as_ptr().addr();
                        scope.judged_once(condition, id, |scope| some(*many, tests, scope, &owner))
                    }
                    Some(owner) => some(*many, tests, scope, &owner),
                    None => Ok(false),
                }
            }
            Self::Empty { hops, many } => {
                let owner = scope.follow(record, hops)?;
                let filled = match owner {
                    Some(Record::Team(team)) if !hops.is_empty() => {
                        let (id, owner) = (team.id, Record::Team(team));
                        let condition = hops.as_ptr().addr();
                        scope.judged_once(condition, id, |scope| {
                            scope.some(&owner, *many, |_| true)
                        })?
                    }
                    Some(Record::Dataset(dataset)) => dataset.file_count > 0,
                    Some(owner) => scope.some(&owner, *many, |_| true)?,
                    None => false,
                };
                Ok(!filled)
            }
        }
    }
}

/// Whether one of many things passes all tests.
fn some(
    many: Many,
    tests: &[(Part, Test)],
    scope: &mut Scope<'_>,
    owner: &Record<'_>,
) -> Result<bool, ReadError> {
    let mut scratch = std::mem::take(&mut scope.scratch);
    let mut passes = |element: &Element<'_>| {
        tests.iter().all(|(part, test)| test.passes(part.read(element), &mut scratch))
    };
    // A file whose name is known is looked up; a dataset may have a million others.
    let found = if let (Some(name), Record::Dataset(dataset)) = (exact_name(tests), owner) {
        scope
            .snapshot
            .file(dataset, name)?
            .is_some_and(|file| passes(&Element::File { name, handle: &file.digest.to_string() }))
    } else {
        scope.some(owner, many, passes)?
    };
    scope.scratch = scratch;
    Ok(found)
}

impl Part {
    fn read<'a>(self, element: &'a Element<'_>) -> Value<'a> {
        match (self, element) {
            (Self::FileName, Element::File { name, .. }) => (*name).into(),
            (Self::FileHandle, Element::File { handle, .. }) => (*handle).into(),
            (Self::PersonPk, Element::Member(person)) => person.id.0.into(),
            (Self::PersonUsername, Element::Member(person)) => (&person.username).into(),
            (Self::Term, Element::Term(term)) => (*term).into(),
            // Compiling follows the schema, which has no such part.
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests;
