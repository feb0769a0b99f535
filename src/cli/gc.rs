//! `granary gc`: what holds space and serves nobody, and giving it back.

use clap::Args;
use granary::space_shapes::{CollectionShape, GarbageShape};
use indicatif::{HumanBytes, HumanCount};

use super::client::Client;
use super::errand::{ADMINISTRATOR, carry_out};
use super::table::{Side, Table};
use super::{Ending, ServerOptions, say};

/// Give back space that serves nobody, now instead of soon.
///
/// For administrators. The server gives most of it back by itself, within seconds of the last
/// delete. What it leaves are dead bytes in segments of the journal that live contents share; here
/// the live ones are written again wherever a tenth of a segment or more is dead, so that the
/// segment can go. The server goes on serving meanwhile, and nothing that a dataset shows changes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only tell what could be given back.
    #[arg(long)]
    dry_run: bool,
    /// Print the numbers as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server)?;
    if options.dry_run {
        let found = client.ask(client.http.get(client.url.action("store/garbage"))).await;
        let garbage: GarbageShape = found.map_err(|failure| failure.needing(ADMINISTRATOR))?;
        if options.json {
            say(serde_json::to_string_pretty(&garbage)?)?;
        } else {
            let bytes = HumanBytes(collectable(&garbage));
            say(format_args!("could be given back: about {bytes}\n"))?;
            table(&garbage).print()?;
        }
        return Ok(Ending::Complete);
    }
    let collected = carry_out::<CollectionShape>(&client).await?;
    if options.json {
        say(serde_json::to_string_pretty(&collected)?)?;
    } else {
        say(format_args!(
            "gave back {}, and wrote {} of live contents again for it\n\nwhat is left:",
            HumanBytes(collected.freed_bytes),
            HumanBytes(collected.moved_bytes)
        ))?;
        table(&collected.after).print()?;
    }
    Ok(Ending::Complete)
}

/// Bytes that a collection gives back, about.
fn collectable(garbage: &GarbageShape) -> u64 {
    garbage.content_bytes.saturating_sub(garbage.held_bytes)
        + garbage.empty_segment_bytes
        + garbage.sparse_dead_bytes
        + garbage.head_dead_bytes
        + garbage.large_bytes
}

fn table(garbage: &GarbageShape) -> Table {
    let mut table =
        Table::new(&[("WHAT", Side::Left), ("NUMBER", Side::Right), ("BYTES", Side::Right)]);
    for (what, number, bytes) in [
        (
            "contents that no file names any longer",
            Some(garbage.contents),
            Some(garbage.content_bytes),
        ),
        (
            "  of these read by archives or backups",
            Some(garbage.held_contents),
            Some(garbage.held_bytes),
        ),
        ("layers that no dataset has any longer", Some(garbage.layers), None),
        ("  rows in these", Some(garbage.rows), None),
        (
            "files of large contents to be removed",
            Some(garbage.large_files),
            Some(garbage.large_bytes),
        ),
        (
            "segments without a live content",
            Some(garbage.empty_segments),
            Some(garbage.empty_segment_bytes),
        ),
        (
            "dead in segments worth rewriting",
            Some(garbage.sparse_segments),
            Some(garbage.sparse_dead_bytes),
        ),
        ("  live in these, to be written again", None, Some(garbage.sparse_live_bytes)),
        ("dead in the segment that is written", None, Some(garbage.head_dead_bytes)),
        ("dead in segments with little of it", None, Some(garbage.other_dead_bytes)),
        (
            "uploads and answers on their way",
            Some(garbage.staged_files),
            Some(garbage.staged_bytes),
        ),
    ] {
        let number = number.map(|number| HumanCount(number).to_string());
        let bytes = bytes.map(|bytes| HumanBytes(bytes).to_string());
        table.row([what.to_owned(), number.unwrap_or_default(), bytes.unwrap_or_default()]);
    }
    table
}
