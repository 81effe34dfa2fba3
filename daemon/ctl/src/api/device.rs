//! A volume's device that is let go of and opened again.

use serde::{Deserialize, Serialize};

/// Open a volume's device again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReopenRequest {
    /// Where it is now; none is where it was.
    #[serde(default)]
    pub path: Option<String>,
    /// Only look whether it is the volume's device.
    #[serde(default)]
    pub dry_run: bool,
}

/// A volume whose device was opened again, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopened {
    /// The volume's name.
    pub volume: String,
    /// Where its device is.
    pub path: String,
    /// Whether that is another place than before: the configuration should say so, too.
    pub moved: bool,
    /// Nothing was changed: it was only looked at.
    pub dry_run: bool,
}

/// A volume whose device was let go of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The volume's name.
    pub volume: String,
    /// Where its device was.
    pub path: String,
}
