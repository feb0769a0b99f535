//! Whether a record is wanted: the compiled filter, record by record.

use granary_engine::ReadError;

use super::compile::{Check, Filter, exact_name};
use super::record::{Record, Value};
use super::schema::{Hop, Many, Part};
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
                let Some(owner) = scope.follow(record, hops)? else { return Ok(false) };
                let judge = |scope: &mut Scope<'_>| some(*many, tests, scope, &owner);
                once_for_a_team(hops, tests.as_ptr().addr(), &owner, scope, judge)
            }
            Self::Empty { hops, many } => {
                let owner = scope.follow(record, hops)?;
                let filled = match owner {
                    Some(Record::Dataset(dataset)) => dataset.file_count > 0,
                    Some(owner) => {
                        let judge = |scope: &mut Scope<'_>| scope.some(&owner, *many, |_| true);
                        once_for_a_team(hops, hops.as_ptr().addr(), &owner, scope, judge)?
                    }
                    None => false,
                };
                Ok(!filled)
            }
        }
    }
}

/// Judges a condition, given by its address, on what belongs to an owner. A team to which hops led is
/// judged once, since many records lead to it.
fn once_for_a_team(
    hops: &[Hop],
    condition: usize,
    owner: &Record<'_>,
    scope: &mut Scope<'_>,
    judge: impl FnOnce(&mut Scope<'_>) -> Result<bool, ReadError>,
) -> Result<bool, ReadError> {
    if let Record::Team(team) = owner
        && !hops.is_empty()
    {
        return scope.judged_once(condition, team.id, judge);
    }
    judge(scope)
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
