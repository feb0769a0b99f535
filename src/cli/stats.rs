//! `granary stats`: what takes the space.

use clap::Args;
use granary::space_shapes::{MeasurementShape, TakenShape, UsageShape};
use indicatif::{HumanBytes, HumanCount};

use super::client::Client;
use super::errand::carry_out;
use super::table::{Side, Table};
use super::{Ending, ServerOptions, say};

/// Most datasets that a server tells one by one.
const DATASETS_MAX: usize = 1000;

/// Show what takes the space, by project and dataset.
///
/// For administrators. A content is stored once, whoever names it. Its bytes are divided evenly
/// among the files that name it, and those of a file that copies of a dataset share evenly among
/// these: so STORED adds up to what is stored, and RATIO, the bytes of files by these, says how much
/// is saved by storing contents once. ALONE is what nothing else names: what removing it for good
/// gives back at least. Soft-deleted datasets count, as they are stored. The server reads all rows
/// for it, some microseconds each, and goes on serving meanwhile, so the numbers are no one state.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Datasets to show, those that take most.
    #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = datasets)]
    datasets: usize,
    /// Print all numbers as JSON: in bytes, and the thousand largest datasets.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

fn datasets(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number <= DATASETS_MAX => Ok(number),
        Ok(_) | Err(_) => Err(format!("a number from 0 to {DATASETS_MAX} is expected")),
    }
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server)?;
    let usage = carry_out::<MeasurementShape>(&client).await?;
    if options.json {
        say(serde_json::to_string_pretty(&usage)?)?;
        return Ok(Ending::Complete);
    }
    say(summary(&usage))?;
    projects(&usage).print()?;
    if options.datasets > 0 && !usage.largest.is_empty() {
        say("")?;
        largest(&usage, options.datasets).print()?;
    }
    Ok(Ending::Complete)
}

fn summary(usage: &UsageShape) -> String {
    let journal_bytes = usage.journal_bytes + usage.journal_ahead_bytes;
    let all = usage.index_bytes + journal_bytes + usage.large_bytes + usage.staging_bytes;
    let taken = &usage.taken;
    format!(
        "disk       {} taken, {} free of {}\n\
         index      {}\n\
         journal    {}, of which {} are contents up to 1 MiB, and {} set aside for more\n\
         contents   {} above 1 MiB, in files of their own\n\
         on the way {}\n\
         stored     {} contents of {}; no longer named and not gone yet: {} of {}\n\
         shown      {} files of {} in {} datasets: ratio {}\n",
        HumanBytes(all),
        HumanBytes(usage.disk_free_bytes),
        HumanBytes(usage.disk_bytes),
        HumanBytes(usage.index_bytes),
        HumanBytes(journal_bytes),
        HumanBytes(usage.journal_live_bytes),
        HumanBytes(usage.journal_ahead_bytes),
        HumanBytes(usage.large_bytes),
        HumanBytes(usage.staging_bytes),
        HumanCount(usage.contents),
        HumanBytes(usage.content_bytes),
        HumanCount(usage.unnamed),
        HumanBytes(usage.unnamed_bytes),
        HumanCount(taken.files),
        HumanBytes(taken.file_bytes),
        HumanCount(usage.datasets),
        ratio(taken.file_bytes, usage.content_bytes),
    )
}

/// Bytes of files by bytes stored, in hundredths; the same files twice make 2.00.
fn ratio(file_bytes: u64, stored_bytes: u64) -> String {
    match (u128::from(file_bytes) * 100).checked_div(u128::from(stored_bytes)) {
        Some(hundredths) => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        None => "-".to_owned(),
    }
}

const TAKEN: [(&str, Side); 5] = [
    ("FILES", Side::Right),
    ("BYTES", Side::Right),
    ("STORED", Side::Right),
    ("RATIO", Side::Right),
    ("ALONE", Side::Right),
];

fn cells(taken: &TakenShape) -> [String; 5] {
    [
        HumanCount(taken.files).to_string(),
        HumanBytes(taken.file_bytes).to_string(),
        HumanBytes(taken.stored_bytes).to_string(),
        ratio(taken.file_bytes, taken.stored_bytes),
        HumanBytes(taken.alone_bytes).to_string(),
    ]
}

fn with_state(name: &str, is_deleted: bool) -> String {
    if is_deleted { format!("{name} (deleted)") } else { name.to_owned() }
}

fn projects(usage: &UsageShape) -> Table {
    let head = [("PK", Side::Right), ("PROJECT", Side::Left), ("DATASETS", Side::Right)];
    let mut table = Table::new(&[&head[..], &TAKEN[..]].concat());
    for project in &usage.projects {
        let name = with_state(&project.name, project.deleted);
        let first = [project.project.to_string(), name, HumanCount(project.datasets).to_string()];
        table.row(first.into_iter().chain(cells(&project.taken)));
    }
    table
}

fn largest(usage: &UsageShape, number: usize) -> Table {
    let head = [("PK", Side::Right), ("DATASET", Side::Left), ("VERSION", Side::Right)];
    let mut table = Table::new(&[&head[..], &TAKEN[..]].concat());
    for dataset in usage.largest.iter().take(number) {
        let name = with_state(&dataset.name, dataset.deleted);
        let first = [dataset.dataset.to_string(), name, dataset.version.to_string()];
        table.row(first.into_iter().chain(cells(&dataset.taken)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_what_files_have_by_what_is_stored() {
        assert_eq!(ratio(200, 100), "2.00");
        assert_eq!(ratio(100, 300), "0.33");
        assert_eq!(ratio(u64::MAX, 1), "18446744073709551615.00");
        assert_eq!(ratio(0, 0), "-");
    }
}
