//! Any sequence of operations, with reopenings, power cuts and failures of the disk between them:
//! the engine does what plain maps do, loses nothing that it answered, and keeps its invariants.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use granary_engine::disk::{Reached, SimulatedDisk};
use granary_engine::{Engine, SourceAfterMerge};

use crate::driver::{assert_agrees, assert_same, observe, run_on_both};
use crate::reference::{Content, Op, Reference};
use crate::support::{block_on, project, small_segments};

/// Steps of one sequence; each is compared with the model, so that longer ones only cost time.
const STEPS_MAX: usize = 48;

#[derive(Debug)]
enum Step {
    Op(Op),
    Checkpoint,
    Compact,
    Reopen,
    PowerCut(Reached),
}

/// Runs the sequence that the bytes say.
pub fn run(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < STEPS_MAX {
        let Ok(step) = step(&mut input) else {
            break;
        };
        steps.push(step);
    }
    block_on(run_steps(&steps));
}

async fn run_steps(steps: &[Step]) {
    let mut disk = SimulatedDisk::new();
    let mut engine = open(&disk);
    let within = project(&engine).await.expect("a project");
    let mut reference = Reference::default();
    for name in ["s", "t"] {
        run_on_both(&engine, within, &mut reference, &Op::Create { name: name.into() }).await;
    }
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Op(op) => run_on_both(&engine, within, &mut reference, op).await,
            Step::Checkpoint => engine.checkpoint().await.expect("a checkpoint"),
            Step::Compact => engine.compact().await.expect("a compaction"),
            Step::Reopen => {
                engine.shutdown().await;
                drop(engine);
                engine = open(&disk);
            }
            Step::PowerCut(reached) => {
                disk.stop_at(disk.operations());
                engine.abandon();
                drop(engine);
                disk = disk.image(*reached);
                engine = open(&disk);
            }
        }
        let when = format!("after step {number} of {steps:?}");
        assert_same(&observe(&engine).await, &reference.sets, &when);
    }
    assert_agrees(&engine, &reference, &format!("after {steps:?}")).await;
    engine.shutdown().await;
}

fn open(disk: &SimulatedDisk) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), &small_segments()).expect("a sound store opens")
}

fn step(input: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match input.int_in_range(0..=31)? {
        0 => Step::Checkpoint,
        1 => Step::Compact,
        2 => Step::Reopen,
        3 => Step::PowerCut(match input.int_in_range(0..=2)? {
            0 => Reached::Nothing,
            1 => Reached::Everything,
            _ => Reached::Random(input.arbitrary()?),
        }),
        _ => Step::Op(op(input)?),
    })
}

fn op(input: &mut Unstructured<'_>) -> Result<Op> {
    let set = input.int_in_range(1..=6)?;
    let kind: u8 = input.arbitrary()?;
    // These came later: below them the seeds from before say what they said.
    match kind {
        244.. => return Ok(Op::Attach { set, members: attached(input)? }),
        232.. => return Ok(Op::DescribeFirst { set, name: name(input)?, text: text(input)? }),
        220.. => return Ok(Op::Replace { set, name: name(input)?, content: content(input)? }),
        _ => {}
    }
    Ok(match kind % 22 {
        0 => Op::Create { name: set_name(input)? },
        1 => Op::Rename { set, name: set_name(input)? },
        2..=5 => Op::Add { set, name: requested_name(input)?, content: content(input)? },
        6 if input.arbitrary()? => Op::AddTar { set, members: members(input)? },
        6 => Op::AddZip { set, members: members(input)? },
        7 => Op::Delete { set, name: name(input)? },
        8 => Op::SetMetadata { set, name: name(input)?, text: text(input)? },
        9 => Op::Clear { set },
        10 => Op::Copy { set, new_name: None, only: None },
        11 => Op::Copy { set, new_name: Some(set_name(input)?), only: None },
        12 => Op::Copy { set, new_name: None, only: Some(several(input, name)?) },
        13 | 14 => {
            Op::Merge { target: set, source: input.int_in_range(1..=6)?, after: after(input)? }
        }
        15 => Op::Destroy { set },
        16 => match input.int_in_range(0..=3)? {
            0 => Op::DestroyAll,
            1 => Op::Purge { set },
            2 => Op::HardDelete { set },
            _ => Op::Reinstate { set },
        },
        17 => Op::DeleteMany { set, names: several(input, name)? },
        18 => {
            let prefix = input.choose(&["", "a", "d/", "d/x", "z/", "q"])?;
            Op::DeleteBelow { set, prefix: (*prefix).to_owned() }
        }
        19 => {
            let texts = several(input, |input| Ok((name(input)?, text(input)?)))?;
            Op::DescribeMany { set, texts: texts.into_iter().collect() }
        }
        _ => Op::RenameFile { set, from: name(input)?, to: requested_name(input)? },
    })
}

/// Few names, so that they collide.
fn name(input: &mut Unstructured<'_>) -> Result<String> {
    let names = [
        "a",
        "b",
        "a-0001",
        "a.txt",
        "a-0001.txt",
        "d/x",
        "d/y",
        "d",
        "d/x/z",
        "n/1",
        ".a",
        "d/.a",
    ];
    input.choose(&names).map(|name| (*name).to_owned())
}

fn requested_name(input: &mut Unstructured<'_>) -> Result<String> {
    match input.int_in_range(0..=9)? {
        0 => Ok("n/".to_owned()),
        1 => Ok("d/".to_owned()),
        _ => name(input),
    }
}

fn set_name(input: &mut Unstructured<'_>) -> Result<String> {
    input.choose(&["s", "t", "u"]).map(|name| (*name).to_owned())
}

fn text(input: &mut Unstructured<'_>) -> Result<String> {
    input.choose(&["", "x", "{}"]).map(|text| (*text).to_owned())
}

/// Few contents, so that they are shared; one of them has a file of its own.
fn content(input: &mut Unstructured<'_>) -> Result<Content> {
    let number = input.int_in_range(0..=19)?;
    Ok(match number {
        0 => Content::of(b""),
        1..=15 => Content::numbered(number, 100),
        16..=18 => Content::numbered(number, 40_000),
        _ => Content::numbered(number, (1 << 20) + 1),
    })
}

/// What is attached: one file of a name that others have too, or several.
fn attached(input: &mut Unstructured<'_>) -> Result<Vec<(String, Content)>> {
    if input.arbitrary()? {
        return members(input);
    }
    Ok(vec![(name(input)?, content(input)?)])
}

/// Members of a zip, which keep the rules of names among themselves.
fn members(input: &mut Unstructured<'_>) -> Result<Vec<(String, Content)>> {
    let wanted: u8 = input.int_in_range(1..=31)?;
    let names = ["a", "b", "z/1", "z/2", "d/q"];
    let chosen = names.iter().enumerate().filter(|(at, _)| wanted & (1 << at) != 0);
    chosen.map(|(_, name)| Ok(((*name).to_owned(), content(input)?))).collect()
}

fn after(input: &mut Unstructured<'_>) -> Result<SourceAfterMerge> {
    input
        .choose(&[SourceAfterMerge::Keep, SourceAfterMerge::Destroy, SourceAfterMerge::HardDelete])
        .copied()
}

fn several<T>(
    input: &mut Unstructured<'_>,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = input.int_in_range(0..=3)?;
    (0..count).map(|_| one(input)).collect()
}
