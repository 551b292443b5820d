//! The bounds of the texts of a command: contents, names, labels. Limits are in
//! `model/src/limits/`.

use nacolet_model::limits;

/// Why a command was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The content has nothing but white space.
    #[error("content is blank")]
    ContentBlank,
    /// The content has too many bytes.
    #[error("content is longer than {bytes_max} bytes")]
    ContentTooLong {
        /// The limit it passed.
        bytes_max: usize,
    },
    /// A text has too many characters.
    #[error("{what} is longer than {chars_max} characters")]
    TooLong {
        /// Which parameter, in the words of Nacos.
        what: &'static str,
        /// The limit it passed.
        chars_max: usize,
    },
    /// A text is missing.
    #[error("{what} is blank")]
    Blank {
        /// Which parameter, in the words of Nacos.
        what: &'static str,
    },
    /// A rule by labels is none.
    #[error("the rule of a gray version is not written as it should be")]
    Rule,
    /// A list is too long.
    #[error("{what} has more than {count_max} items")]
    TooMany {
        /// Which parameter, in the words of Nacos.
        what: &'static str,
        /// The limit it passed.
        count_max: usize,
    },
}

/// Whether a content of so many bytes, that is nothing but white space or not, is inside its
/// limits.
///
/// # Errors
/// It is blank or too long.
pub const fn check_content(bytes: usize, is_blank: bool) -> Result<(), PublishError> {
    if is_blank {
        return Err(PublishError::ContentBlank);
    }
    if bytes > limits::CONTENT_BYTES_MAX {
        return Err(PublishError::ContentTooLong { bytes_max: limits::CONTENT_BYTES_MAX });
    }
    Ok(())
}

pub(crate) fn check_named(
    what: &'static str,
    text: &str,
    chars_max: usize,
) -> Result<(), PublishError> {
    if text.trim().is_empty() {
        return Err(PublishError::Blank { what });
    }
    check_chars(what, text, chars_max)
}

pub(crate) fn check_chars(
    what: &'static str,
    text: &str,
    chars_max: usize,
) -> Result<(), PublishError> {
    // Bytes bound characters from above, so the count is only taken when it can matter.
    if text.len() > chars_max && text.chars().count() > chars_max {
        return Err(PublishError::TooLong { what, chars_max });
    }
    Ok(())
}
