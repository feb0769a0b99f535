//! `granary user`: who may log in.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use granary_engine::MutationError;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::catalogue::{Catalogue, User, second_of, tell};
use super::environment;
use super::failure::Failure;
use super::new_password::{NewPassword, NewPasswordOptions, line_of_input};
use super::offline_password::set_password_offline;
use super::session::FIRST_USER;
use super::table::{Side, Table};
use super::token_file::{StoredSession, TokenFile};
use super::{Ending, ServerOptions, say};

/// The right that all but changing one's own password needs.
const NEEDED: &str = "an administrator";

/// Make, change and deactivate users; set passwords.
///
/// USER is a name or a primary key; what consists of digits is a primary key. All but
/// change-password is for administrators. Users are never removed, as datasets remember who made
/// them; one that is deactivated may do nothing until activated again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  granary user create ann --generate-password
  granary user change ann --admin true
  granary user reset-password ann
  granary user deactivate ann")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the users
    List(ListOptions),
    /// Show one user
    Show(OneOptions),
    /// Make a user
    Create(CreateOptions),
    /// Change a user's name, details or rights
    Change(ChangeOptions),
    /// Take from a user the right to log in, at once
    ///
    /// Every request of theirs is refused from then on, whatever token it bears.
    Deactivate(OneOptions),
    /// Give a deactivated user the right to log in back
    ///
    /// Tokens from before that are not worn out are good again; reset the password to end them.
    Activate(OneOptions),
    /// Give a user another password, which ends their logins
    ///
    /// Every token that the user had before is refused from then on. With --data it is set in the
    /// directory of a stopped server, and the user is activated: the way back in where nobody knows
    /// an administrator's password any longer.
    ResetPassword(ResetOptions),
    /// Change your own password, which ends your other logins
    ///
    /// The present password is asked for first, on a terminal, or read from the first line of
    /// standard input; what is logged in with the old password has to log in again.
    ChangePassword(OwnOptions),
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Deactivated users too.
    #[arg(long)]
    all: bool,
    /// Print the records as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct OneOptions {
    /// Name or primary key.
    user: String,
    /// Print the user's record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct Details {
    /// First name.
    #[arg(long, value_name = "NAME")]
    first_name: Option<String>,
    /// Last name.
    #[arg(long, value_name = "NAME")]
    last_name: Option<String>,
    /// Address for mail.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Whether the user is an administrator, who may do everything.
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    admin: Option<bool>,
}

#[derive(Debug, Args)]
struct CreateOptions {
    /// Name to log in with: letters, digits and @.+-_
    name: String,
    #[command(flatten)]
    password: NewPasswordOptions,
    #[command(flatten)]
    details: Details,
    /// Print the user's record as JSON, with a made-up password in it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct ChangeOptions {
    /// Name or primary key.
    user: String,
    /// Another name to log in with.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    details: Details,
    /// Print the user's record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct ResetOptions {
    /// Name or primary key.
    user: String,
    #[command(flatten)]
    password: NewPasswordOptions,
    /// Set it in this data directory, which no server may use; nobody has to log in.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the user's record as JSON, with a made-up password in it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct OwnOptions {
    #[command(flatten)]
    password: NewPasswordOptions,
    #[command(flatten)]
    server: ServerOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    match options.what {
        What::List(options) => list(options).await?,
        What::Show(options) => show(options).await?,
        What::Create(options) => create(options).await?,
        What::Change(options) => change(options).await?,
        What::Deactivate(options) => set_active(options, false).await?,
        What::Activate(options) => set_active(options, true).await?,
        What::ResetPassword(options) => reset_password(options).await?,
        What::ChangePassword(options) => change_own_password(options).await?,
    }
    Ok(Ending::Complete)
}

async fn list(options: ListOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, NEEDED)?;
    let users = catalogue.list("users", options.all).await?;
    if options.json {
        return Ok(say(serde_json::to_string_pretty(&users)?)?);
    }
    let mut table = Table::new(&[
        ("PK", Side::Right),
        ("NAME", Side::Left),
        ("RIGHTS", Side::Left),
        ("LAST LOGIN", Side::Left),
        ("E-MAIL", Side::Left),
    ]);
    for user in users {
        let user: User = catalogue.read(user)?;
        let last_login = user.last_login.as_deref().map_or("never".to_owned(), second_of);
        let rights = rights(&user).to_owned();
        table.row([user.pk.to_string(), user.username, rights, last_login, user.email]);
    }
    Ok(table.print()?)
}

fn rights(user: &User) -> &'static str {
    match (user.is_active, user.is_staff) {
        (false, _) => "deactivated",
        (true, true) => "administrator",
        (true, false) => "user",
    }
}

async fn show(options: OneOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, NEEDED)?;
    let user = catalogue.user(&options.user).await?;
    if options.json {
        let record = catalogue.ask(Method::GET, &path(&user), None).await?;
        return Ok(say(serde_json::to_string_pretty(&record)?)?);
    }
    let last_login = user.last_login.as_deref().map_or("never".to_owned(), second_of);
    let mut table = Table::new(&[("FIELD", Side::Left), ("VALUE", Side::Left)]);
    for (field, value) in [
        ("primary key", user.pk.to_string()),
        ("name", user.username.clone()),
        ("rights", rights(&user).to_owned()),
        ("first name", user.first_name.clone()),
        ("last name", user.last_name.clone()),
        ("e-mail", user.email.clone()),
        ("made", second_of(&user.date_joined)),
        ("last login", last_login),
    ] {
        table.row([field.to_owned(), value]);
    }
    Ok(table.print()?)
}

fn path(user: &User) -> String {
    format!("users/{}", user.pk)
}

impl Details {
    /// The fields that were given.
    fn fields(self) -> Map<String, Value> {
        let Self { first_name, last_name, email, admin } = self;
        let given = [
            ("first_name", first_name.map(Value::from)),
            ("last_name", last_name.map(Value::from)),
            ("email", email.map(Value::from)),
            ("is_staff", admin.map(Value::from)),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        given.collect()
    }
}

async fn create(options: CreateOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, NEEDED)?;
    let password = options.password.get(&options.name)?;
    let mut fields = options.details.fields();
    fields.insert("username".to_owned(), options.name.as_str().into());
    fields.insert("password".to_owned(), password.text.as_str().into());
    let made = catalogue.ask(Method::POST, "users/create", Some(&fields.into())).await;
    let made = made.and_then(|made| Ok((catalogue.read::<User>(made.clone())?, made)));
    let made = made.map_err(|error| in_doubt(error, &options.name, options.json, &password));
    let (user, made) = made?;
    let sentence = format!("made user {} ({})", user.username, user.pk);
    tell_password(made, options.json, &sentence, &password)
}

/// Tells what was done, and a password that nobody knows yet.
fn tell_password(
    mut record: Value,
    as_json: bool,
    sentence: &str,
    password: &NewPassword,
) -> anyhow::Result<()> {
    if !password.is_made_up {
        return tell(&record, as_json, sentence);
    }
    if let Some(fields) = record.as_object_mut() {
        fields.insert("password".to_owned(), password.text.as_str().into());
    }
    let sentence = format!("{sentence}, password {} (shown this once)", password.text);
    tell(&record, as_json, &sentence)
}

/// Tells a password that nobody knows yet where it may have been set although that failed; gives why it
/// failed.
fn in_doubt(
    error: anyhow::Error,
    username: &str,
    as_json: bool,
    password: &NewPassword,
) -> anyhow::Error {
    let may_be_done = match error.downcast_ref::<Failure>() {
        Some(failure) => failure.leaves_open(),
        None => matches!(error.downcast_ref(), Some(MutationError::OutcomeUnknown { .. })),
    };
    if !may_be_done || !password.is_made_up {
        return error;
    }
    let text = &password.text;
    let record = json!({ "username": username, "password": text, "is_certain": false });
    let sentence = format!("if it was set, the password of {username} is {text} (shown this once)");
    tell(&record, as_json, &sentence).err().unwrap_or(error)
}

async fn change(options: ChangeOptions) -> anyhow::Result<()> {
    let mut fields = options.details.fields();
    if let Some(name) = options.name {
        fields.insert("username".to_owned(), name.into());
    }
    anyhow::ensure!(
        !fields.is_empty(),
        "nothing to change was given; see: granary user change --help"
    );
    let catalogue = Catalogue::open(&options.server, NEEDED)?;
    let user = catalogue.user(&options.user).await?;
    let changed = catalogue.ask(Method::PATCH, &path(&user), Some(&fields.into())).await?;
    let user: User = catalogue.read(changed.clone())?;
    let sentence = format!("changed user {} ({}): {}", user.username, user.pk, rights(&user));
    tell(&changed, options.json, &sentence)
}

async fn set_active(options: OneOptions, is_active: bool) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, NEEDED)?;
    let user = catalogue.user(&options.user).await?;
    let fields = json!({ "is_active": is_active });
    let changed = catalogue.ask(Method::PATCH, &path(&user), Some(&fields)).await?;
    let done = if is_active { "activated" } else { "deactivated" };
    tell(&changed, options.json, &format!("{done} user {} ({})", user.username, user.pk))
}

async fn reset_password(options: ResetOptions) -> anyhow::Result<()> {
    if let Some(directory) = &options.data {
        let password = options.password.get(&options.user)?;
        let set = set_password_offline(directory, &options.user, password.text.clone()).await;
        let user = set.map_err(|error| in_doubt(error, &options.user, options.json, &password))?;
        let rights = if user.is_staff { "an administrator" } else { "no administrator" };
        let name = &user.username;
        let sentence = format!("set the password of user {name}, who is active and {rights}");
        let record = json!({ "username": name });
        return tell_password(record, options.json, &sentence, &password);
    }
    let catalogue = Catalogue::open(&options.server, NEEDED)?;
    let user = catalogue.user(&options.user).await?;
    let password = options.password.get(&user.username)?;
    let fields = json!({ "password": password.text });
    let changed = catalogue.ask(Method::PATCH, &path(&user), Some(&fields)).await;
    let changed =
        changed.map_err(|error| in_doubt(error, &user.username, options.json, &password))?;
    let sentence = format!(
        "set the password of user {} ({}); their logins until now have ended",
        user.username, user.pk
    );
    tell_password(changed, options.json, &sentence, &password)
}

async fn change_own_password(options: OwnOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, "a user who is logged in")?;
    let url = &options.server.url;
    let who = catalogue.whose().unwrap_or("you").to_owned();
    let old = old_password(&who, url.as_str())?;
    let password = options.password.get(&who)?;
    let fields = json!({ "old_password": old, "new_password": password.text });
    let tokens = catalogue.ask(Method::POST, "auth/password", Some(&fields)).await;
    let tokens = tokens.map_err(|error| in_doubt(error, &who, false, &password))?;
    let made_up = if password.is_made_up {
        format!(" to {} (shown this once)", password.text)
    } else {
        String::new()
    };
    say(format_args!("changed the password of {who}{made_up}; other logins have ended"))?;
    let refresh = tokens.get("refresh").and_then(|token| token.as_str()).map(str::to_owned);
    // A session that was kept is kept with its new token; the old one is good no longer.
    let file = TokenFile::of_this_user().ok();
    let kept = file.and_then(|file| Some((file.load(url).ok()??, file)));
    if let (Some((session, file)), Some(refresh)) = (kept, refresh) {
        file.store(url, StoredSession { username: session.username, refresh })?;
    }
    if environment::variable("GRANARY_PASSWORD").is_some() {
        say("GRANARY_PASSWORD holds the old password still; change it where it is set")?;
    } else if let Some(file) = catalogue.first_password_file().filter(|_| who == FIRST_USER) {
        say(format_args!("{} holds the old password still; remove it", file.display()))?;
    }
    Ok(())
}

fn old_password(who: &str, url: &str) -> anyhow::Result<String> {
    use std::io::IsTerminal;
    if std::io::stdin().is_terminal() {
        let prompt = format!("present password of {who} at {url}: ");
        return Ok(rpassword::prompt_password(prompt)?);
    }
    line_of_input("the present password")
}
