//! Which request comes next: a load as a function of a request's number, so that a run can be
//! repeated.

use std::net::SocketAddr;
use std::time::Instant;

use hyper::header::{AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};

use super::connection::{Answer, Connection};
use super::content::{Content, Contents};
use super::numbers::{count, index, mixed};
use super::operation::{Operation, Workload};
use super::recorder::{Ended, Trouble};
use super::sizes::Sizes;
use super::target::{Address, Dialect, Target};

/// Where the numbers of contents begin that a run adds; those below are there before it.
const NEW_CONTENTS: u64 = 1 << 40;

/// Letters of what a server said of an error that are passed on.
const SAID_LETTERS_MAX: usize = 300;

/// A load in all its particulars.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    pub(crate) target: Target,
    pub(crate) sizes: Sizes,
    /// Of a hundred uploads so many have a content that is there already.
    pub(crate) duplicates: u8,
    /// Primary keys of the datasets; numbers of folders where the server is a plain one.
    pub(crate) datasets: Vec<u64>,
    /// Files that each dataset has before the load begins.
    pub(crate) files: u64,
    /// Whether the first files are all in the first dataset, and so on; in turn otherwise.
    pub(crate) in_blocks: bool,
    /// Number of the run, which its names and contents carry.
    pub(crate) run: u64,
    pub(crate) contents: Contents,
}

impl Plan {
    /// A load for something that listens there, takes and answers what a plain server does, and keeps
    /// nothing.
    pub(crate) fn of_nothing(workload: Workload, socket: SocketAddr, sizes: Sizes) -> Self {
        let host = HeaderValue::from_static("nothing");
        let address = Address { socket, host, base: String::new() };
        Self {
            workload,
            target: Target { address, dialect: Dialect::Plain, token: None },
            sizes,
            duplicates: 0,
            datasets: vec![0],
            files: 1,
            in_blocks: false,
            run: 0,
            contents: Contents::new(0),
        }
    }
}

/// A request and what its success is worth.
struct Step {
    operation: Operation,
    request: Request<Content>,
    /// Bytes that are sent, if that is what counts.
    sent: Option<u64>,
    /// Bytes that must come, if it is known.
    expected: Option<u64>,
}

/// Who sends the requests of one connection, and who is told how they ended.
pub(crate) struct Turn<'a, R> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) token: Option<&'a HeaderValue>,
    /// When the request should be sent.
    pub(crate) intended: Instant,
    pub(crate) record: R,
}

/// Name of a file that is there before the load begins.
pub(crate) fn stored_name(number: u64) -> String {
    format!("stored/{number:010}")
}

impl Plan {
    /// Files that are there before the load begins, over all datasets.
    pub(crate) fn stored(&self) -> u64 {
        self.files.saturating_mul(count(self.datasets.len()))
    }

    /// Adds the file of this number among those that are there before.
    pub(crate) async fn store<R: FnMut(Ended)>(&self, number: u64, turn: Turn<'_, R>) {
        let step = self.upload(&self.stored_name(number), number, turn.token);
        self.send(step, turn, false).await;
    }

    /// Does what the load does with this number.
    pub(crate) async fn perform<R: FnMut(Ended)>(&self, number: u64, turn: Turn<'_, R>) {
        let token = turn.token;
        let step = match self.workload {
            Workload::Upload => self.add(number, token),
            Workload::Download => self.get(number, token),
            Workload::Mixed => self.mixed(number, token),
            Workload::Metadata if number.is_multiple_of(2) => self.set_metadata(number, token),
            Workload::Metadata => self.get_metadata(number, token),
            Workload::List => self.list(token),
            Workload::Retrieve => self.retrieve(number, token),
            Workload::Copy => self.copy(number, token),
            Workload::Archive => self.archive(number, token),
            Workload::Merge => return self.merge(number, turn).await,
        };
        self.send(step, turn, false).await;
    }

    fn mixed(&self, number: u64, token: Option<&HeaderValue>) -> Step {
        match mixed(number ^ self.run) % 100 {
            0..50 => self.get(number, token),
            50..80 => self.add(number, token),
            80..90 => self.get_metadata(number, token),
            90..95 => self.set_metadata(number, token),
            _ => self.list(token),
        }
    }

    /// Copies a dataset, merges the next one into the copy, and deletes that for good.
    async fn merge<R: FnMut(Ended)>(&self, number: u64, turn: Turn<'_, R>) {
        let Turn { connection, token, intended, mut record } = turn;
        let copy = self.copy(number, token);
        let turn = Turn { connection, token, intended, record: &mut record };
        let Some(answer) = self.send(copy, turn, true).await else {
            return;
        };
        let Some(copy) = primary_key(&answer.kept) else {
            return;
        };
        let source = self.dataset(number + 1);
        let path = format!("datasets/{copy}/merge/{source}?files=false");
        let keep_source = Content::text(r#"{"delete": false}"#.to_owned());
        let merge = self.step(Operation::Merge, Method::POST, &path, keep_source, token);
        let turn = Turn { connection, token, intended: Instant::now(), record: &mut record };
        self.send(merge, turn, false).await;
        let path = format!("datasets/{copy}/hard?files=false");
        let delete =
            self.step(Operation::HardDelete, Method::DELETE, &path, Content::none(), token);
        let turn = Turn { connection, token, intended: Instant::now(), record };
        self.send(delete, turn, false).await;
    }

    fn add(&self, number: u64, token: Option<&HeaderValue>) -> Step {
        let draw = mixed(number ^ self.run.rotate_left(17));
        let known = self.stored() > 0 && draw % 100 < u64::from(self.duplicates);
        let content = if known { mixed(draw) % self.stored() } else { NEW_CONTENTS + number };
        let name = self.name(self.dataset(number), &format!("new/{number:010}"));
        self.upload(&name, content, token)
    }

    fn upload(&self, path: &str, content: u64, token: Option<&HeaderValue>) -> Step {
        let length = self.sizes.of(content);
        let body = self.contents.content(content, length);
        let method = match self.target.dialect {
            Dialect::Api => Method::POST,
            Dialect::Plain => Method::PUT,
        };
        let mut request = self.request(method, path, body, token);
        if self.target.dialect == Dialect::Api {
            // The server that the API comes from demands it.
            let name = HeaderValue::from_static("attachment; filename=data");
            request.headers_mut().insert(CONTENT_DISPOSITION, name);
        }
        Step { operation: Operation::Upload, request, sent: Some(length), expected: None }
    }

    fn get(&self, number: u64, token: Option<&HeaderValue>) -> Step {
        let stored = self.any_stored(number);
        let name = self.stored_name(stored);
        let request = self.request(Method::GET, &name, Content::none(), token);
        let expected = Some(self.sizes.of(stored));
        Step { operation: Operation::Download, request, sent: None, expected }
    }

    fn set_metadata(&self, number: u64, token: Option<&HeaderValue>) -> Step {
        let path = self.metadata_of(number);
        let text = format!(r#"{{"metadata": "label {number} of run {:x}"}}"#, self.run);
        self.step(Operation::SetMetadata, Method::POST, &path, Content::text(text), token)
    }

    fn get_metadata(&self, number: u64, token: Option<&HeaderValue>) -> Step {
        let path = self.metadata_of(number);
        self.step(Operation::GetMetadata, Method::GET, &path, Content::none(), token)
    }

    fn list(&self, token: Option<&HeaderValue>) -> Step {
        let path = "datasets/list?limit=100&files=false";
        self.step(Operation::List, Method::POST, path, Content::text("{}".to_owned()), token)
    }

    fn retrieve(&self, number: u64, token: Option<&HeaderValue>) -> Step {
        let path = format!("datasets/{}", self.dataset(number));
        self.step(Operation::Retrieve, Method::GET, &path, Content::none(), token)
    }

    fn copy(&self, number: u64, token: Option<&HeaderValue>) -> Step {
        let path = format!("datasets/{}/copy?files=false", self.dataset(number));
        let body = Content::text("{}".to_owned());
        self.step(Operation::Copy, Method::POST, &path, body, token)
    }

    fn archive(&self, number: u64, token: Option<&HeaderValue>) -> Step {
        let path = format!("datasets/{}/download", self.dataset(number));
        let body = Content::text(r#"{"filetype": "zip"}"#.to_owned());
        self.step(Operation::Archive, Method::POST, &path, body, token)
    }

    fn step(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        body: Content,
        token: Option<&HeaderValue>,
    ) -> Step {
        let path = format!("{}/v1/{path}", self.target.address.base);
        let mut request = self.request(method, &path, body, token);
        if request.method() == Method::POST {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        Step { operation, request, sent: None, expected: None }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Content,
        token: Option<&HeaderValue>,
    ) -> Request<Content> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // Made of letters and digits only, so it is one.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.address.host.clone());
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        request
    }

    /// Sends a request and records how it ended; gives the answer if that was a success.
    async fn send<R: FnMut(Ended)>(
        &self,
        step: Step,
        turn: Turn<'_, R>,
        keep: bool,
    ) -> Option<Answer> {
        let Turn { connection, intended, mut record, .. } = turn;
        let Step { operation, request, sent: payload, expected } = step;
        let sent = Instant::now();
        let answer = connection.exchange(request, keep).await;
        let answered = Instant::now();
        let answer = answer
            .map_err(|kind| Trouble { kind, said: String::new() })
            .and_then(|answer| judged(answer, expected));
        let outcome = match &answer {
            Ok(answer) => Ok(payload.unwrap_or(answer.length)),
            Err(trouble) => Err(trouble.clone()),
        };
        record(Ended { operation, intended, sent, answered, outcome });
        answer.ok()
    }

    fn dataset(&self, number: u64) -> u64 {
        let place = index(number % count(self.datasets.len()).max(1));
        self.datasets.get(place).copied().unwrap_or_default()
    }

    fn any_stored(&self, number: u64) -> u64 {
        mixed(number ^ self.run.rotate_left(31)) % self.stored().max(1)
    }

    fn stored_name(&self, number: u64) -> String {
        let turn = if self.in_blocks { number / self.files.max(1) } else { number };
        self.name(self.dataset(turn), &stored_name(number))
    }

    fn metadata_of(&self, number: u64) -> String {
        let stored = self.any_stored(number / 2);
        format!("datasets/{}/metadata/{}", self.dataset(stored), stored_name(stored))
    }

    fn name(&self, dataset: u64, name: &str) -> String {
        let base = &self.target.address.base;
        match self.target.dialect {
            Dialect::Api => format!("{base}/v1/datasets/{dataset}/files/{name}"),
            Dialect::Plain => format!("{base}/granary-bench-{:x}/{dataset}/{name}", self.run),
        }
    }
}

fn judged(answer: Answer, expected: Option<u64>) -> Result<Answer, Trouble> {
    if !answer.status.is_success() {
        let said = String::from_utf8_lossy(&answer.kept);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(Trouble {
            kind: format!("status {}", answer.status.as_u16()),
            said: said.chars().take(SAID_LETTERS_MAX).collect(),
        });
    }
    match expected {
        Some(expected) if expected != answer.length => Err(Trouble {
            kind: "content of a wrong length".to_owned(),
            said: format!("{} bytes came, {expected} were stored", answer.length),
        }),
        Some(_) | None => Ok(answer),
    }
}

/// The primary key in the fields of a dataset, which begin with it or nearly so.
fn primary_key(fields: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(fields);
    let (_, behind) = text.split_once("\"pk\":")?;
    let digits: String = behind.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hyper::body::Body;

    use super::super::target::Address;
    use super::*;

    fn plan(workload: Workload, duplicates: u8) -> Plan {
        let host = HeaderValue::from_static("h:1");
        let address =
            Address { socket: ([127, 0, 0, 1], 1).into(), host, base: "/base".to_owned() };
        Plan {
            workload,
            target: Target { address, dialect: Dialect::Api, token: None },
            sizes: Sizes::Fixed(1_000),
            duplicates,
            datasets: vec![10, 20, 30],
            files: 7,
            in_blocks: false,
            run: 5,
            contents: Contents::new(5),
        }
    }

    #[test]
    fn uploads_go_to_all_datasets_under_names_of_their_own() {
        let plan = plan(Workload::Upload, 0);
        let paths: BTreeSet<String> =
            (0..30).map(|number| plan.add(number, None).request.uri().path().to_owned()).collect();
        assert_eq!(paths.len(), 30);
        for dataset in [10, 20, 30] {
            let of_dataset = format!("/base/v1/datasets/{dataset}/files/new/");
            assert_eq!(paths.iter().filter(|path| path.starts_with(&of_dataset)).count(), 10);
        }
    }

    #[test]
    fn what_is_fetched_was_stored() {
        let plan = plan(Workload::Download, 0);
        let stored: BTreeSet<String> =
            (0..plan.stored()).map(|number| plan.stored_name(number)).collect();
        assert_eq!(stored.len(), 21);
        for number in 0..1_000 {
            let step = plan.get(number, None);
            assert!(stored.contains(step.request.uri().path()));
            assert_eq!(step.expected, Some(1_000));
        }
    }

    #[tokio::test]
    async fn the_share_of_known_contents_is_as_was_asked_for() {
        use http_body_util::BodyExt;
        let plan = plan(Workload::Upload, 30);
        let mut known = BTreeSet::new();
        for number in 0..plan.stored() {
            let step = plan.upload(&plan.stored_name(number), number, None);
            known.insert(step.request.into_body().collect().await.unwrap().to_bytes());
        }
        let mut again = 0;
        for number in 0..1_000 {
            let body = plan.add(number, None).request.into_body();
            assert_eq!(body.size_hint().exact(), Some(1_000));
            again += u32::from(known.contains(&body.collect().await.unwrap().to_bytes()));
        }
        assert!((260..340).contains(&again), "{again} of 1000");
    }

    #[test]
    fn a_refusal_tells_its_status_and_what_the_server_said() {
        let answer =
            |status, kept: &str| Answer { status, length: 3, kept: kept.as_bytes().to_vec() };
        let busy = judged(answer(hyper::StatusCode::SERVICE_UNAVAILABLE, "{\n \"a\": 1}"), None);
        let busy = busy.unwrap_err();
        assert_eq!((busy.kind.as_str(), busy.said.as_str()), ("status 503", "{ \"a\": 1}"));
        let cut = judged(answer(hyper::StatusCode::OK, ""), Some(4)).unwrap_err();
        assert_eq!(cut.kind, "content of a wrong length");
        assert!(judged(answer(hyper::StatusCode::OK, ""), Some(3)).is_ok());
    }

    #[test]
    fn the_primary_key_of_a_copy_is_found() {
        assert_eq!(primary_key(br#"{"pk":17,"name":"x"}"#), Some(17));
        assert_eq!(primary_key(br#"{"pk": 17, "name": "x"}"#), Some(17));
        assert_eq!(primary_key(br#"{"detail": "no"}"#), None);
    }
}
