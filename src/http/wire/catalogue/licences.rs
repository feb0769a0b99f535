//! Shapes of licences and of what they say.

use axum::http::Uri;
use granary_engine::model::{
    Licence, LicencePatch, NewLicence, SubdescriptorEdit, SubdescriptorId, SubdescriptorKind,
    SubdescriptorRef,
};
use reqwest::Url;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text};
use crate::http::strict::{Strict, refusal};

/// Letters of a subdescriptor's name.
const SUBDESCRIPTOR_LETTERS_MAX: usize = 100;

/// A licence.
#[derive(Serialize, ToSchema)]
#[schema(as = Licence)]
pub(crate) struct LicenceShape<'a> {
    #[schema(examples(2))]
    pk: u64,
    #[schema(examples("Apache 2.0"))]
    name: &'a str,
    /// Where its text is.
    #[schema(examples("https://choosealicense.com/licenses/apache-2.0/"))]
    url: &'a str,
    /// What it permits.
    permissions: &'a [String],
    /// On what conditions.
    conditions: &'a [String],
    /// What it does not give.
    limitations: &'a [String],
    /// What it is for.
    domains: &'a [String],
}

/// The fields of a new or wholly changed licence. Fields that can only be read are passed over.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read_licence` reads")]
pub(crate) struct LicenceFields {
    /// Blanks at both ends are cut. Unique.
    #[schema(min_length = 1, max_length = 100, examples("House licence"))]
    name: String,
    /// Where its text is: a http, https or ftp address.
    #[schema(min_length = 1, max_length = 200, examples("https://example.org/licence"))]
    url: String,
}

/// The fields of a licence that change; what is left out stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read_licence_patch` reads")]
pub(crate) struct LicenceChange {
    #[schema(required = false, min_length = 1, max_length = 100)]
    name: String,
    #[schema(
        required = false,
        min_length = 1,
        max_length = 200,
        examples("https://example.org/2")
    )]
    url: String,
}

impl<'a> From<&'a Licence> for LicenceShape<'a> {
    fn from(licence: &'a Licence) -> Self {
        Self {
            pk: licence.id.0,
            name: &licence.name,
            url: &licence.url,
            permissions: &licence.permissions,
            conditions: &licence.conditions,
            limitations: &licence.limitations,
            domains: &licence.domains,
        }
    }
}

/// Reads the body of a licence's update (both needed) or partial update (none).
pub(crate) fn read_licence_patch(mut fields: Fields, need: Need) -> Result<LicencePatch, ApiError> {
    let name = fields.text("name", need, Text::upto(100));
    let url = fields.text("url", need, Text::upto(200));
    if url.as_deref().is_some_and(|url| !is_url(url)) {
        fields.refuse("url", "Enter a valid URL.");
    }
    fields.check()?;
    Ok(LicencePatch { name, url })
}

/// Reads the body of a licence's create; what it says is added by an action of its own.
pub(crate) fn read_licence(fields: Fields) -> Result<NewLicence, ApiError> {
    let LicencePatch { name, url } = read_licence_patch(fields, Need::Required)?;
    Ok(NewLicence {
        name: name.unwrap_or_default(),
        url: url.unwrap_or_default(),
        permissions: Vec::new(),
        conditions: Vec::new(),
        limitations: Vec::new(),
        domains: Vec::new(),
    })
}

/// Whether a text is the address of something, of a host with a dot in its name or by its number. The name may be
/// in any letters.
fn is_url(text: &str) -> bool {
    // What parses addresses forgives more than the original does.
    if !text.contains("://") || text.contains(char::is_whitespace) {
        return false;
    }
    let Ok(parsed) = Url::parse(text) else {
        return false;
    };
    // The host as it is asked for, if it has letters beyond ASCII.
    let written = if text.is_ascii() { text } else { parsed.as_str() };
    let Ok(url) = written.parse::<Uri>() else {
        return false;
    };
    let is_named = |host: &str| host.contains('.') || host.starts_with('[') || host == "localhost";
    matches!(url.scheme_str(), Some("http" | "https" | "ftp" | "ftps"))
        && url.host().is_some_and(is_named)
}

/// A change of what a licence says.
#[derive(ToSchema)]
#[schema(as = SubdescriptorsChange, examples(json!({
    "type": "permissions", "method": "add", "names": ["Commercial use", 3],
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `SubdescriptorsBody` reads")]
pub(crate) struct SubdescriptorsFields {
    r#type: KindName,
    method: EditName,
    /// Names, or primary keys of what some licence says already; nothing twice.
    #[schema(min_items = 1)]
    names: Vec<NameOrPk>,
}

/// What the things that a licence says are; the singular is understood too.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what `SubdescriptorsBody` reads")]
enum KindName {
    Permissions,
    Conditions,
    Limitations,
    Domains,
    Permission,
    Condition,
    Limitation,
    Domain,
}

/// Whether they are added or removed.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what `SubdescriptorsBody` reads")]
enum EditName {
    Add,
    Remove,
}

/// What a licence says, by name; blanks at both ends are cut.
#[derive(ToSchema)]
#[schema(as = SubdescriptorName, value_type = String, min_length = 1, max_length = 100)]
struct Name(());

/// A name or a primary key.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `SubdescriptorsBody` reads")]
enum NameOrPk {
    Name(Name),
    Pk(u64),
}

/// The strict body of a change of what a licence says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SubdescriptorsBody {
    pub(crate) kind: SubdescriptorKind,
    pub(crate) edit: SubdescriptorEdit,
    pub(crate) names: Vec<SubdescriptorRef>,
}

impl SubdescriptorsBody {
    /// Reads a body. The API's document has the kinds in the plural; the singular is understood.
    pub(crate) fn read(body: Value) -> Result<Self, ApiError> {
        let mut body = Strict::of(body)?;
        let kind = match body.text("type")?.as_deref() {
            Some("permissions" | "permission") => SubdescriptorKind::Permission,
            Some("conditions" | "condition") => SubdescriptorKind::Condition,
            Some("limitations" | "limitation") => SubdescriptorKind::Limitation,
            Some("domains" | "domain") => SubdescriptorKind::Domain,
            Some(_) | None => {
                return Err(refusal(
                    "'type' must be one of 'permissions', 'conditions', 'limitations', 'domains'",
                ));
            }
        };
        let edit = match body.text("method")?.as_deref() {
            Some("add") => SubdescriptorEdit::Add,
            Some("remove") => SubdescriptorEdit::Remove,
            Some(_) | None => return Err(refusal("'method' must be 'add' or 'remove'")),
        };
        let names = body.array("names")?.unwrap_or_default();
        body.check()?;
        if names.is_empty() {
            return Err(refusal("'names' must hold one name or primary key at least"));
        }
        let names = names.into_iter().map(read_subdescriptor).collect::<Result<Vec<_>, _>>()?;
        let distinct: std::collections::HashSet<&SubdescriptorRef> = names.iter().collect();
        if distinct.len() < names.len() {
            return Err(refusal("'names' must not hold anything twice"));
        }
        Ok(Self { kind, edit, names })
    }
}

fn read_subdescriptor(value: Value) -> Result<SubdescriptorRef, ApiError> {
    let neither = || refusal("'names' must hold strings and primary keys only");
    match value {
        Value::String(name) => {
            let name = name.trim();
            if name.is_empty() || name.contains('\0') {
                return Err(refusal("a name in 'names' must not be blank or hold null characters"));
            }
            if name.chars().nth(SUBDESCRIPTOR_LETTERS_MAX).is_some() {
                return Err(refusal(&format!(
                    "a name in 'names' must have no more than {SUBDESCRIPTOR_LETTERS_MAX} \
                     characters"
                )));
            }
            Ok(SubdescriptorRef::Name(name.to_owned()))
        }
        Value::Number(number) => {
            let id = number.as_u64().filter(|id| *id > 0).ok_or_else(neither)?;
            Ok(SubdescriptorRef::Id(SubdescriptorId(id)))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(neither()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_checked_as_far_as_they_can_be() {
        for good in [
            "https://example.org/x?y",
            "http://localhost:8000",
            "HTTP://Example.org/é",
            "http://[::1]/",
            "ftp://[2001:db8::7]:2121/x",
            "http://192.0.2.1/",
            "https://bücher.example/lizenz",
            "https://例え.テスト:8443/使用許諾",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "example.org",
            "javascript:alert(1)",
            "http://",
            "http://x",
            "http://1",
            "https://a b",
            "http://é",
            "http:/bücher.example/",
            "http://bücher.example/a b",
            "http://[::g]/",
            "http://[::1/",
            "http://300.0.0.1/",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_change_of_subdescriptors_is_strict() {
        let read = |body| SubdescriptorsBody::read(body).ok();
        let body = json!({"type": "domains", "method": "remove", "names": [" Data ", 7]});
        let data = SubdescriptorRef::Name("Data".into());
        let names = vec![data, SubdescriptorRef::Id(SubdescriptorId(7))];
        let (kind, edit) = (SubdescriptorKind::Domain, SubdescriptorEdit::Remove);
        assert_eq!(read(body), Some(SubdescriptorsBody { kind, edit, names }));
        for body in [
            json!({}),
            json!({"type": "domains", "method": "add"}),
            json!({"type": "domains", "method": "add", "names": []}),
            json!({"type": "domains", "method": "add", "names": "a"}),
            json!({"type": "domains", "method": "add", "names": ["a", "a"]}),
            json!({"type": "domains", "method": "add", "names": [1, 1]}),
            json!({"type": "domains", "method": "add", "names": [" "]}),
            json!({"type": "domains", "method": "add", "names": [true]}),
            json!({"type": "domains", "method": "add", "names": [0]}),
            json!({"type": "domains", "method": "add", "names": [1.5]}),
            json!({"type": "domains", "method": "add", "names": [-1]}),
            json!({"type": "domains", "method": "add", "names": ["x".repeat(101)]}),
            json!({"type": "Domains", "method": "add", "names": ["a"]}),
            json!({"type": "domains", "method": "update", "names": ["a"]}),
            json!({"type": "domains", "method": "add", "names": ["a"], "name": "a"}),
        ] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }
}
