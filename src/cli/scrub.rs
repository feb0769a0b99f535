//! `granary scrub`: how far the server's scrub is, and what it found.

use clap::Args;
use granary::store_shapes::{QuarantinedShape, ScrubPassShape, ScrubShape};
use indicatif::{HumanBytes, HumanCount};

use super::client::Client;
use super::errand::ADMINISTRATOR;
use super::{Ending, ServerOptions, say, shown};

/// Show the scrub, which reads all contents in the background, and what it found damaged.
///
/// For administrators. The server begins a pass once a week, at the rate of its setting
/// `scrub_rate`, and goes on after a restart where it was. Ends with 0 if nothing is damaged, 3 if
/// contents are in quarantine, which are listed with the files that name them.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Begin a pass now, unless one is under way.
    #[arg(long)]
    now: bool,
    /// Print what is known as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server)?;
    let action = client.url.action("store/scrub");
    let request = if options.now { client.http.post(action) } else { client.http.get(action) };
    let scrub = client.ask(request).await;
    let scrub: ScrubShape = scrub.map_err(|failure| failure.needing(ADMINISTRATOR))?;
    let quarantine = client.http.get(client.url.action("store/quarantine"));
    let quarantine: Vec<QuarantinedShape> = client.ask(quarantine).await?;
    if options.json {
        let known = serde_json::json!({ "scrub": scrub, "quarantine": quarantine });
        say(serde_json::to_string_pretty(&known)?)?;
    } else {
        say(text_of(&scrub, &quarantine, options.now))?;
    }
    Ok(if quarantine.is_empty() { Ending::Complete } else { Ending::Unsound })
}

fn text_of(scrub: &ScrubShape, quarantine: &[QuarantinedShape], is_asked: bool) -> String {
    let mut lines = Vec::new();
    lines.push(match scrub.bytes_per_second {
        0 => "rate: off; a pass that is asked for reads at the usual rate".to_owned(),
        rate => format!("rate: at most {}/s", HumanBytes(rate)),
    });
    match &scrub.pass {
        Some(pass) => lines.push(format!(
            "pass under way, {:.0}%: begun {}, {}",
            scrub.share * 100.0,
            pass.started,
            counts(pass)
        )),
        None if is_asked => lines.push("a pass begins now".to_owned()),
        None => lines.push("no pass under way".to_owned()),
    }
    lines.push(match &scrub.last {
        Some(pass) => {
            let finished = pass.finished.as_deref().unwrap_or("?");
            format!("last pass: {} to {finished}, {}", pass.started, counts(pass))
        }
        None => "last pass: none".to_owned(),
    });
    if let Some(next) = &scrub.next {
        lines.push(format!("next pass: {next}"));
    }
    for content in quarantine {
        let QuarantinedShape { handle, length, fault, since, file_count, .. } = content;
        let bytes = HumanBytes(*length);
        lines.push(format!("DAMAGED: content {handle} ({bytes}): {fault}, since {since}"));
        for file in &content.files {
            let name = file.filename.as_deref().unwrap_or_default();
            lines.push(shown(&format!(
                "    hits dataset {} ({:?}, version {}): {name}",
                file.dataset, file.name, file.version
            )));
        }
        let told = u64::try_from(content.files.len()).unwrap_or(u64::MAX);
        if *file_count > told {
            lines.push(format!("    and {} more files", HumanCount(file_count - told)));
        }
    }
    if !quarantine.is_empty() {
        lines.push(
            "what to do: upload the same content again, under any name in any dataset: that heals \
             it everywhere"
                .to_owned(),
        );
    }
    lines.push(match quarantine.len() {
        0 => "nothing in quarantine".to_owned(),
        count => format!("{count} in quarantine"),
    });
    lines.join("\n")
}

fn counts(pass: &ScrubPassShape) -> String {
    let (contents, bytes) = (HumanCount(pass.contents), HumanBytes(pass.bytes));
    format!("{contents} contents, {bytes}, {} damaged", HumanCount(pass.damaged))
}
