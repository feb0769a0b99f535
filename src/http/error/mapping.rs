//! From the errors of the engine, the permissions and the passwords to answers.
//!
//! The matches have no wildcard, so that a new variant does not compile until it has a status.

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use granary_engine::disk::is_full;
use granary_engine::{IntakeError, MutationError, ReadError, RecordKind, UniqueRule};

use super::{ApiError, RETRY_AFTER_SECONDS};
use crate::auth::PasswordError;
use crate::permission::Denied;

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotLoggedIn => Self::not_logged_in(),
            Denied::Forbidden => Self::forbidden(),
            Denied::Unreadable(error) => error.into(),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::unavailable("Too many logins are under way."),
            PasswordError::Hashing { .. } => Self::internal(error),
        }
    }
}

impl From<MutationError> for ApiError {
    fn from(error: MutationError) -> Self {
        match error {
            MutationError::DatasetNotFound { .. } => Self::no_record("Dataset"),
            MutationError::UserNotFound { .. } => Self::no_record("User"),
            MutationError::FileNotFound { filename, .. } => Self::no_file(&filename),
            MutationError::FilesNotFound { filenames, count, .. } => {
                Self::no_files(&filenames, count)
            }
            MutationError::ContentsUnknown { filenames, count } => {
                Self::unknown_contents(&filenames, count)
            }
            MutationError::ConditionFailed { filename } => Self::condition_failed(&filename),
            MutationError::UploadNotFound { .. } => Self::no_record("Upload"),
            MutationError::TooManyUploads { .. } => too_many_uploads(&error),
            MutationError::OtherDigest { .. } => {
                Self::bad_request(format!("{} Nothing of it was kept.", sentence(&error)))
            }
            MutationError::DuplicateFilename { filename } => {
                Self::bad_name(&filename, "Must be given only once")
            }
            MutationError::RenameToItself { filename } => {
                Self::bad_name(&filename, "Is the name of this very file")
            }
            MutationError::BadFilename { filename, reason } => Self::bad_name(&filename, reason),
            MutationError::FilenameTaken { filename } => {
                Self::bad_name(&filename, "Filename already in use")
            }
            MutationError::FilenameIsDirectory { filename } => {
                Self::bad_name(&filename, "Filename is already a directory prefix")
            }
            MutationError::DirectoryIsFile { filename } => {
                Self::bad_name(&filename, "Directory prefix is already a filename")
            }
            MutationError::Taken { rule } => taken(rule),
            MutationError::ProjectNotFound { project } => Self::no_object("project", project),
            MutationError::LicenceNotFound { licence } => Self::no_object("licence", licence),
            MutationError::TeamNotFound { team } => Self::no_object("team", team),
            MutationError::MemberAlready { .. } => {
                Self::bad_request("User is already a member of this team")
            }
            MutationError::NotAMember { .. } => {
                Self::bad_request("User is not a member of this team")
            }
            MutationError::RecordNotFound { record, .. } => Self::no_record(kind(record)),
            MutationError::NotEmpty { record, id, first, .. } => not_empty(record, id, first),
            MutationError::SubdescriptorNotFound { kind, id } => {
                Self::bad_request(format!("Bad value in 'names': there is no {kind} {id}"))
            }
            MutationError::TooMany { .. } => Self::bad_request(sentence(&error)),
            MutationError::QuotaExceeded { .. } => quota_exceeded(&error),
            MutationError::MergeIntoItself { .. } => {
                Self::bad_request("Cannot merge a dataset into itself and delete it")
            }
            MutationError::TooLarge { .. } => {
                Self::detail(StatusCode::PAYLOAD_TOO_LARGE, sentence(&error))
            }
            MutationError::OutOfSpace => {
                Self::detail(StatusCode::INSUFFICIENT_STORAGE, sentence(&error))
            }
            MutationError::Moved { .. }
            | MutationError::Busy { .. }
            | MutationError::ReadOnly { .. }
            | MutationError::OutcomeUnknown { .. }
            | MutationError::Stopping => Self::unavailable(sentence(&error)),
            MutationError::Read(cause) => {
                read_error(&cause).unwrap_or_else(|| Self::internal(cause))
            }
            MutationError::Panicked | MutationError::Staging { .. } => Self::internal(error),
        }
    }
}

fn quota_exceeded(error: &MutationError) -> ApiError {
    let text = format!(
        "{} Remove something for good (what is soft-deleted counts until then), or ask an \
         administrator for a larger quota.",
        sentence(error)
    );
    ApiError::detail(StatusCode::INSUFFICIENT_STORAGE, text)
}

fn too_many_uploads(error: &MutationError) -> ApiError {
    ApiError::detail(StatusCode::TOO_MANY_REQUESTS, sentence(error))
        .with_header(RETRY_AFTER, RETRY_AFTER_SECONDS)
}

/// The original's words for each thing that may be there only once.
fn taken(rule: UniqueRule) -> ApiError {
    match rule {
        UniqueRule::DatasetName => ApiError::bad_request(
            "UNIQUE constraint failed: dataset.name, dataset.version, dataset.project",
        ),
        UniqueRule::ProjectName => {
            ApiError::bad_request("UNIQUE constraint failed: project.name, project.team")
        }
        UniqueRule::Username => {
            ApiError::field("username", "A user with that username already exists.")
        }
        UniqueRule::TeamName => ApiError::field("name", "team with this name already exists."),
        UniqueRule::LicenceName => {
            ApiError::field("name", "licence with this name already exists.")
        }
        UniqueRule::NodeAddress => {
            ApiError::field("non_field_errors", "The fields ip, index must make a unique set.")
        }
    }
}

/// What the API calls a kind of record.
fn kind(record: RecordKind) -> &'static str {
    match record {
        RecordKind::Dataset => "Dataset",
        RecordKind::Team => "Team",
        RecordKind::Project => "Project",
        RecordKind::Licence => "Licence",
        RecordKind::Node => "Node",
        RecordKind::AccessToken => "AccessToken",
    }
}

/// 400: what is inside, and what to do first. Only who may remove the record gets to see it.
fn not_empty(record: RecordKind, id: u64, first: u64) -> ApiError {
    let text = match record {
        RecordKind::Licence => format!(
            "Licence {id} cannot be deleted: dataset {first} is under it (deleted datasets count \
             too). Give every such dataset another licence, or hard-delete it, first."
        ),
        RecordKind::Team => format!(
            "Team {id} cannot be hard-deleted: project {first} belongs to it (deleted projects \
             count too). Move every such project to another team, or hard-delete it, first."
        ),
        RecordKind::Project | RecordKind::Dataset | RecordKind::Node | RecordKind::AccessToken => {
            format!(
                "{} {id} cannot be hard-deleted: dataset {first} belongs to it (deleted datasets count \
             too). Move every such dataset to another project, or hard-delete it, first.",
                kind(record)
            )
        }
    };
    ApiError::bad_request(text)
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        if let ReadError::DamagedContent { digest, .. } = &error {
            return Self::damaged_content(*digest, error);
        }
        read_error(&error).unwrap_or_else(|| Self::internal(error))
    }
}

/// The answer to a failed read, if it is not the server's fault.
fn read_error(error: &ReadError) -> Option<ApiError> {
    match error {
        ReadError::Gone { .. } => Some(ApiError::no_route()),
        // Nothing else is read until the store is opened again (I7).
        ReadError::IndexFailed { .. } | ReadError::Busy => {
            Some(ApiError::unavailable(sentence(error)))
        }
        // The copy that a long answer is made from did not fit.
        ReadError::Io { source, .. } if is_full(source) => Some(MutationError::OutOfSpace.into()),
        // The error itself goes to the log, so it is made where it is still whole.
        ReadError::DamagedContent { .. }
        | ReadError::Corrupt { .. }
        | ReadError::Io { .. }
        | ReadError::Panicked => None,
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::NotAnArchive { .. } | IntakeError::BadMember { .. } => {
                Self::bad_request(sentence(&error))
            }
            IntakeError::BadFilename { filename, reason } => Self::bad_name(&filename, reason),
            IntakeError::DuplicateFilename { filename } => {
                Self::bad_name(&filename, "Filename already in use")
            }
            IntakeError::FileAndDirectory { filename } => {
                Self::bad_name(&filename, "Filename is already a directory prefix")
            }
            IntakeError::TooLarge { .. } => {
                Self::detail(StatusCode::PAYLOAD_TOO_LARGE, sentence(&error))
            }
            IntakeError::Mutation(error) => error.into(),
        }
    }
}

/// An error's message as a sentence for people.
fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[test]
    fn a_refusal_for_load_says_when_to_come_back() {
        let busy = MutationError::Busy { what: "the dataset", waiting: 9 };
        let response = ApiError::from(busy).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers().get(RETRY_AFTER), Some(&RETRY_AFTER_SECONDS));
    }

    #[test]
    fn what_breaks_is_our_fault_and_not_absent() {
        for error in [ReadError::Panicked.into(), MutationError::Panicked.into()] {
            let response = ApiError::into_response(error);
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let response = ApiError::from(MutationError::OutOfSpace).into_response();
        assert_eq!(response.status(), StatusCode::INSUFFICIENT_STORAGE);
    }
}
