//! A journal that somebody altered: damage is told and nothing is changed, or what comes of it was
//! written before, in its order, and the journal goes on from there.

use arbitrary::{Result, Unstructured};
use granary_engine::fuzzing::{Alteration, Record, alter_and_open};

/// Writes, alters and opens a journal as the bytes say.
pub fn run(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok((groups, alterations, applied)) = story(&mut input) else {
        return;
    };
    if let Err(broken) = alter_and_open(&groups, &alterations, applied) {
        panic!("{broken}\n{groups:?}\n{alterations:?}, {applied} groups applied");
    }
}

type Story = (Vec<Vec<Record>>, Vec<Alteration>, usize);

fn story(input: &mut Unstructured<'_>) -> Result<Story> {
    let groups = several(input, 8, |input| several(input, 4, record))?;
    let applied = input.int_in_range(0..=groups.len())?;
    let alterations = several(input, 6, alteration)?;
    Ok((groups, alterations, applied))
}

/// Up to so many of something; fewer where the bytes end.
fn several<T>(
    input: &mut Unstructured<'_>,
    max: usize,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = input.int_in_range(0..=max)?;
    (0..count).map(|_| one(input)).collect()
}

fn record(input: &mut Unstructured<'_>) -> Result<Record> {
    let change = some_bytes(input, 40)?;
    let contents = several(input, 3, |input| {
        let (byte, length) = (input.arbitrary()?, input.int_in_range(0..=6000)?);
        Ok(vec![byte; length])
    })?;
    Ok((change, contents))
}

fn some_bytes(input: &mut Unstructured<'_>, max: usize) -> Result<Vec<u8>> {
    let length = input.int_in_range(0..=max)?.min(input.len());
    Ok(input.bytes(length)?.to_vec())
}

/// A file, counted from the oldest, and a place in it: often within a header.
fn place(input: &mut Unstructured<'_>) -> Result<(usize, u64)> {
    let (page, within): (u8, u16) = (input.int_in_range(0..=12)?, input.arbitrary()?);
    let within = if input.ratio(3, 4)? { within % 160 } else { within % 4096 };
    Ok((input.int_in_range(0..=3)?, u64::from(page) * 4096 + u64::from(within)))
}

fn alteration(input: &mut Unstructured<'_>) -> Result<Alteration> {
    Ok(match input.int_in_range(0..=9)? {
        0..=3 => {
            let (file, offset) = place(input)?;
            Alteration::Overwrite { file, offset, bytes: some_bytes(input, 64)? }
        }
        4 => {
            let (from, to) = (place(input)?, place(input)?);
            Alteration::Copy { from, to, length: input.int_in_range(0..=20_000)? }
        }
        5 => {
            let (file, length) = place(input)?;
            Alteration::Resize { file, length }
        }
        6 => Alteration::Remove { file: input.int_in_range(0..=3)? },
        7 => {
            let segment = if input.arbitrary()? { input.int_in_range(0..=5)? } else { u64::MAX };
            Alteration::Rename { file: input.int_in_range(0..=3)?, segment }
        }
        _ => Alteration::Seal { file: input.int_in_range(0..=3)? },
    })
}
