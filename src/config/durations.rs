//! Durations in the configuration: strings with units, `10s`, `1h`, `7d`.

/// `#[serde(with = "duration")]`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    /// Reads a duration with its unit.
    ///
    /// # Errors
    /// When the text is not a number with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|_| D::Error::custom(format!("`{text}` is not a duration; write 10s, 5m, 1h or 7d")))
    }
}
