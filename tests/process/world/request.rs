//! A change as a request.

use std::io::{Cursor, Write};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::op::{Kind, Op, SourceEnd};
use super::{Files, World};
use crate::api::Body;
use crate::content::Content;
use crate::server::PASSWORD;

impl World {
    /// Method, path and body of the change. `shared` is the dataset that all clients add to.
    pub(crate) fn request(&self, op: &Op, shared: u64) -> (Method, String, Body) {
        let post = |path: String, body| (Method::POST, path, Body::Json(body));
        let patch = |path: String, body| (Method::PATCH, path, Body::Json(body));
        let delete = |path: String| (Method::DELETE, path, Body::None);
        match op {
            Op::Create { name, .. } => {
                let body = json!({"name": name, "project": 1, "licence": 1, "tags": ""});
                post("datasets/create".to_owned(), body)
            }
            Op::Copy { of, new_name, only, .. } => {
                post(self.path(*of, "copy"), json!({"new_name": new_name, "only_files": only}))
            }
            Op::Merge { into, from, end } => {
                let merge = self.path(*into, &format!("merge/{}", self.pk(*from)));
                let (stays, hard) = (*end == SourceEnd::Stays, *end == SourceEnd::HardDeleted);
                post(merge, json!({"delete": !stays, "hard": hard}))
            }
            Op::Describe { at, text } => patch(self.path(*at, ""), json!({"description": text})),
            Op::SoftDelete { at } => delete(self.path(*at, "")),
            Op::Reinstate { at } => delete(self.path(*at, "reinstate")),
            Op::HardDelete { at } => delete(self.path(*at, "hard")),
            Op::Add { at, name, content } => {
                upload(self.path(*at, &format!("files/{name}")), content)
            }
            Op::AddShared { name, content } => {
                upload(format!("datasets/{shared}/files/{name}"), content)
            }
            Op::DeleteShared { name } => delete(format!("datasets/{shared}/files/{name}")),
            Op::Intake { at, kind, files } => {
                let body = Body::Bytes(archive(*kind, files).into());
                (Method::POST, self.path(*at, "files-multi"), body)
            }
            Op::Delete { at, name } => delete(self.path(*at, &format!("files/{name}"))),
            Op::DeleteMany { at, names } => {
                post(self.path(*at, "files-delete"), json!({"names": names}))
            }
            Op::SetMetadata { at, texts } => match texts.as_slice() {
                [(name, text)] => {
                    post(self.path(*at, &format!("metadata/{name}")), json!({"metadata": text}))
                }
                texts => {
                    let texts = texts.iter().map(|(name, text)| (name.clone(), json!(text)));
                    let texts: Map<String, Value> = texts.collect();
                    post(self.path(*at, "metadata-multi"), json!({"metadata": texts}))
                }
            },
            Op::Rename { at, from, to } => {
                post(self.path(*at, "files-rename"), json!({"from": from, "to": to}))
            }
            Op::Clear { at } => delete(self.path(*at, "clear")),
            Op::CreateUser { .. } | Op::NameUser { .. } | Op::DeactivateUser { .. } => {
                self.user_request(op)
            }
            Op::CreateTeam { .. } | Op::Join { .. } | Op::Leave { .. } | Op::DeleteTeam { .. } => {
                self.team_request(op)
            }
        }
    }

    fn user_request(&self, op: &Op) -> (Method, String, Body) {
        let path = |name| format!("users/{}", self.users[name].pk.unwrap());
        match op {
            Op::NameUser { name, first_name } => {
                (Method::PATCH, path(name), Body::Json(json!({"first_name": first_name})))
            }
            Op::DeactivateUser { name } => (Method::DELETE, path(name), Body::None),
            Op::CreateUser { name } => {
                let body = json!({"username": name, "password": PASSWORD});
                (Method::POST, "users/create".to_owned(), Body::Json(body))
            }
            other => panic!("{other:?} is not about a user"),
        }
    }

    fn team_request(&self, op: &Op) -> (Method, String, Body) {
        let path = |team| format!("teams/{}", self.teams[team].pk.unwrap());
        let member =
            |team, body| (Method::PATCH, format!("{}/memberships", path(team)), Body::Json(body));
        match op {
            Op::Join { team, level } => {
                let body = json!({"username": "admin", "method": "add", "permissions": level});
                member(team, body)
            }
            Op::Leave { team } => member(team, json!({"username": "admin", "method": "remove"})),
            Op::DeleteTeam { team } => (Method::DELETE, path(team), Body::None),
            Op::CreateTeam { name } => {
                let body = Body::Json(json!({"name": name}));
                (Method::POST, "teams/create".to_owned(), body)
            }
            other => panic!("{other:?} is not about a team"),
        }
    }

    fn path(&self, id: u64, rest: &str) -> String {
        format!("datasets/{}/{rest}", self.pk(id))
    }

    fn pk(&self, id: u64) -> u64 {
        self.datasets[&id].pk.unwrap()
    }
}

fn upload(path: String, content: &Content) -> (Method, String, Body) {
    (Method::POST, path, Body::Bytes(content.bytes().into()))
}

/// An archive of these files.
pub(crate) fn archive(kind: Kind, files: &[(String, Content)]) -> Vec<u8> {
    match kind {
        Kind::Zip => zip(files),
        Kind::Tar => tar(files, Vec::new()),
        Kind::TarGz => {
            let level = flate2::Compression::fast();
            tar(files, flate2::write::GzEncoder::new(Vec::new(), level)).finish().unwrap()
        }
    }
}

fn zip(files: &[(String, Content)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in files {
        writer.start_file(name.as_str(), options).unwrap();
        writer.write_all(&content.bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn tar<W: Write>(files: &[(String, Content)], out: W) -> W {
    let mut builder = tar::Builder::new(out);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.length).unwrap());
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.bytes().as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Names and handles, as a dataset's answer has them.
pub(super) fn handles(files: &Files) -> std::collections::BTreeMap<String, String> {
    files.iter().map(|(name, file)| (name.clone(), file.content.handle.to_string())).collect()
}
