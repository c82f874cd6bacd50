//! What can be wrong with a name, and what to write instead.

/// Why text or DER is no usable distinguished name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is longer than [`MAX_TEXT`](super::MAX_TEXT).
    #[error("the name is longer than {} bytes: shorten it", super::MAX_TEXT)]
    TooLong,
    /// Two separators follow each other, or the name ends with one.
    #[error(
        "the name has an empty part: remove the extra separator, or escape it with a backslash if it belongs to a value"
    )]
    EmptyPart,
    /// A part has no `=`.
    #[error(
        "`{part}` in the name has no `=`: write TYPE=value, and escape a separator inside a value with a backslash"
    )]
    NoEquals {
        /// The part as written.
        part: String,
    },
    /// The attribute type is not a known keyword and not a dotted OID.
    #[error(
        "the name has an unknown attribute type `{keyword}`: use CN, O, OU, C, ST, L, DC, UID, serialNumber, emailAddress, ... or a dotted OID"
    )]
    UnknownAttribute {
        /// The type as written.
        keyword: String,
    },
    /// A character must be escaped.
    #[error("the value of {attribute} contains `{character}`: write it as `\\{character}`")]
    Unescaped {
        /// The attribute.
        attribute: String,
        /// The character.
        character: char,
    },
    /// A backslash is followed by something that cannot be escaped.
    #[error(
        "the value of {attribute} has a backslash that escapes nothing: write `\\\\` for a backslash, or `\\` and two hex digits for a byte of UTF-8"
    )]
    Escape {
        /// The attribute.
        attribute: String,
    },
    /// A `#hex` value is not the hex of one DER value.
    #[error(
        "the value of {attribute} is not `#` and the hex digits of one DER value: write text instead, with a leading `#` as `\\#`"
    )]
    Hex {
        /// The attribute.
        attribute: String,
    },
    /// A `#hex` value of a known attribute has another type than the text form would have.
    #[error(
        "the hex value of {attribute} is not a {expected}: write it as text and it becomes one"
    )]
    HexType {
        /// The attribute.
        attribute: String,
        /// The ASN.1 type that we encode.
        expected: &'static str,
    },
    /// The value is empty.
    #[error("the value of {attribute} is empty: give it a value or leave {attribute} out")]
    Empty {
        /// The attribute.
        attribute: String,
    },
    /// The value is longer than its upper bound (RFC 5280 Appendix A).
    #[error(
        "the value of {attribute} has {length} characters: at most {longest} are allowed (RFC 5280 Appendix A)"
    )]
    TooManyCharacters {
        /// The attribute.
        attribute: String,
        /// How many it has.
        length: usize,
        /// How many it may have.
        longest: usize,
    },
    /// C is not a two-letter code.
    #[error("C is `{value}`: use the two letters of an ISO 3166 country code, for example DE")]
    Country {
        /// The value.
        value: String,
    },
    /// The value contains characters that its type cannot have.
    #[error("the value of {attribute} contains {character:?}: use only {allowed}")]
    Character {
        /// The attribute.
        attribute: String,
        /// The first bad character.
        character: char,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// One RDN has the same attribute type twice.
    #[error(
        "{attribute} stands twice in one multi-valued part: separate the two with `,` instead of `+`"
    )]
    Repeated {
        /// The attribute.
        attribute: String,
    },
    /// The DER is not a name.
    #[error(
        "the distinguished name is not valid DER: have the program that made it write canonical DER (X.690)"
    )]
    Der,
    /// A template names an unknown placeholder, or does not close it.
    #[error(
        "the name template has an unknown or unfinished placeholder `{placeholder}`: use ${{registrationId}}, ${{namespace}} or ${{group}}, inside a value"
    )]
    UnknownPlaceholder {
        /// The placeholder as written.
        placeholder: String,
    },
    /// The caller gave no value for a placeholder.
    #[error("there is no value for ${{{placeholder}}} here: remove it from the name template")]
    NoValue {
        /// The placeholder.
        placeholder: String,
    },
}
