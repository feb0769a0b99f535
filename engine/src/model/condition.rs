//! What a request may ask of a file before the file is changed, so that writers who do not know of
//! each other do not undo each other's work.

use serde::{Deserialize, Serialize};

use super::{Digest, DigestHasher};

/// States of a file, each named by a digest: that of its content, or the tag of its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tags {
    /// Whatever there is.
    Any,
    /// One of these.
    These(Vec<Digest>),
}

/// What must hold of a file for a change of it to be made; the default asks for nothing.
///
/// It is looked at in the order of the dataset's changes (I5): nothing comes between it and the
/// change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCondition {
    /// The file is there in one of these states.
    pub matches: Option<Tags>,
    /// The file is not there, or not in one of these states.
    pub matches_none: Option<Tags>,
}

/// How an upload takes its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadTerms {
    /// Whether it may take the place of a file of its name.
    pub replaces: bool,
    /// What must hold of the file of its name.
    pub condition: FileCondition,
}

impl UploadTerms {
    /// Whether it asks for a free name and nothing else.
    pub(crate) fn is_plain(&self) -> bool {
        !self.replaces && self.condition.is_empty()
    }
}

impl FileCondition {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.matches.is_none() && self.matches_none.is_none()
    }

    /// Whether it holds of a file with this content, or of one that is not there.
    pub fn holds(&self, content: Option<&Digest>) -> bool {
        let tags = content.map(std::slice::from_ref);
        let matches = self.matches.as_ref().is_none_or(|wanted| wanted.has_any(tags));
        matches && !self.matches_none.as_ref().is_some_and(|unwanted| unwanted.has_any(tags))
    }

    /// Whether it holds of the metadata of a file that is there. "None at all" means that none was
    /// set; either the content or the metadata may be what a tag names.
    pub(crate) fn holds_of_metadata(&self, content: &Digest, metadata: &str) -> bool {
        let tags = [*content, metadata_tag(content, metadata)];
        let matches = self.matches.as_ref().is_none_or(|wanted| wanted.has_any(Some(&tags)));
        matches
            && match &self.matches_none {
                None => true,
                Some(Tags::Any) => metadata.is_empty(),
                Some(unwanted @ Tags::These(_)) => !unwanted.has_any(Some(&tags)),
            }
    }
}

impl Tags {
    /// Number of states that it names.
    pub fn count(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::These(tags) => tags.len(),
        }
    }

    /// Whether what is there (`None`: nothing) has one of these tags.
    fn has_any(&self, tags: Option<&[Digest]>) -> bool {
        match (self, tags) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::These(wanted), Some(tags)) => tags.iter().any(|tag| wanted.contains(tag)),
        }
    }
}

/// Names the state of a file's metadata: another text has another one, and so has the same text
/// beside another content.
pub fn metadata_tag(content: &Digest, metadata: &str) -> Digest {
    let mut hasher = DigestHasher::new();
    hasher.update(b"granary metadata\n");
    hasher.update(content.as_bytes());
    hasher.update(metadata.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(matches: Option<Tags>, matches_none: Option<Tags>) -> FileCondition {
        FileCondition { matches, matches_none }
    }

    #[test]
    fn conditions_tell_nothing_from_something_and_one_content_from_another() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let these = |digests: &[Digest]| Some(Tags::These(digests.to_vec()));
        for (asked, absent, as_one, as_other) in [
            (condition(None, None), true, true, true),
            (condition(Some(Tags::Any), None), false, true, true),
            (condition(None, Some(Tags::Any)), true, false, false),
            (condition(these(&[one]), None), false, true, false),
            (condition(these(&[]), None), false, false, false),
            (condition(None, these(&[one])), true, false, true),
            (condition(these(&[one, other]), these(&[other])), false, true, false),
        ] {
            assert_eq!(asked.holds(None), absent, "{asked:?}");
            assert_eq!(asked.holds(Some(&one)), as_one, "{asked:?}");
            assert_eq!(asked.holds(Some(&other)), as_other, "{asked:?}");
        }
    }

    #[test]
    fn metadata_is_named_by_its_text_and_by_the_content_beside_it() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let these = |digest| Some(Tags::These(vec![digest]));
        for tag in [one, metadata_tag(&one, "label")] {
            assert!(condition(these(tag), None).holds_of_metadata(&one, "label"));
            assert!(!condition(these(tag), None).holds_of_metadata(&other, "label"));
            assert!(!condition(None, these(tag)).holds_of_metadata(&one, "label"));
        }
        let tag = metadata_tag(&one, "label");
        assert!(!condition(these(tag), None).holds_of_metadata(&one, "another"));
        let unset = condition(None, Some(Tags::Any));
        assert!(unset.holds_of_metadata(&one, ""));
        assert!(!unset.holds_of_metadata(&one, "label"));
    }
}
