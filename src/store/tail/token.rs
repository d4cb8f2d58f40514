//! Where a resume token stands in the order of the stream.
//!
//! A token of one match cannot resume another, but all tokens of one replica set stand in one order: the `_data` of a token
//! is a key string, in hexadecimal, that begins with the cluster time and sorts as the stream does.

use mongodb::bson::RawDocument;

use super::TailEvent;
use crate::domain::history::{ClusterTime, Position, StreamToken};

/// The type byte of a timestamp in a key string, with which every token begins.
const TIMESTAMP: &str = "82";
/// Hexadecimal digits of the type byte, the seconds and the ordinal.
const DIGITS_MIN: usize = 18;

/// The place of a token in the order of all events of a replica set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenPlace(String);

impl TokenPlace {
    /// The place of a token; none when it is not one of a change stream.
    pub fn of(token: &StreamToken) -> Option<Self> {
        let data = RawDocument::from_bytes(&token.0).ok()?.get_str("_data").ok()?;
        let valid = data.len() >= DIGITS_MIN
            && data.starts_with(TIMESTAMP)
            && data.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
        valid.then(|| Self(data.to_owned()))
    }

    /// The moment of the oplog that it belongs to.
    pub fn cluster_time(&self) -> ClusterTime {
        // Both are hexadecimal digits, eight of them, as `of` has seen.
        let number = |from: usize| u32::from_str_radix(&self.0[from..from + 8], 16).unwrap_or(0);
        ClusterTime { seconds: number(2), ordinal: number(10) }
    }
}

/// Where a department goes on in a stream that begins earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// After this event.
    After(TokenPlace),
    /// After everything of this cluster time.
    AfterTime(ClusterTime),
}

impl Start {
    /// Where a position goes on; none when its token is not one of a change stream.
    pub fn of(position: &Position) -> Option<Self> {
        match &position.token {
            Some(token) => TokenPlace::of(token).map(Self::After),
            None => Some(Self::AfterTime(position.cluster_time)),
        }
    }

    /// The first moment that a stream has to show.
    pub fn cluster_time(&self) -> ClusterTime {
        match self {
            Self::After(place) => place.cluster_time(),
            Self::AfterTime(time) => ClusterTime { ordinal: time.ordinal.saturating_add(1), ..*time },
        }
    }

    /// Whether an event lies at or before this start.
    pub fn is_past(&self, event: &TailEvent) -> bool {
        match (self, TokenPlace::of(&event.token)) {
            (Self::After(start), Some(place)) => place <= *start,
            (Self::AfterTime(start), Some(place)) => place.cluster_time() <= *start,
            (_, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::super::TailKind;
    use super::*;

    fn token(data: &str) -> StreamToken {
        StreamToken(mongodb::bson::serialize_to_vec(&doc! { "_data": data }).unwrap())
    }

    fn event(data: &str) -> TailEvent {
        TailEvent::bare(TailKind::Idle, token(data))
    }

    fn position(token: Option<StreamToken>) -> Position {
        Position {
            sequence: crate::domain::history::Sequence(0),
            chain: crate::domain::history::Chain::GENESIS,
            time: crate::domain::clock::Timestamp::from_millis(0),
            closed: false,
            cluster_time: ClusterTime { seconds: 16, ordinal: 2 },
            balance: 0,
            token,
        }
    }

    #[test]
    fn a_token_tells_its_cluster_time_and_the_order_of_the_stream() {
        let first = TokenPlace::of(&token("8200000010000000022B0229296E04")).unwrap();
        let second = TokenPlace::of(&token("8200000010000000022B042C0100")).unwrap();
        let later = TokenPlace::of(&token("8200000011000000012B0229296E04")).unwrap();
        assert_eq!(first.cluster_time(), ClusterTime { seconds: 16, ordinal: 2 });
        assert!(first < second && second < later);
    }

    #[test]
    fn what_is_no_token_has_no_place() {
        assert_eq!(TokenPlace::of(&StreamToken(vec![1, 2, 3])), None);
        for data in ["", "82", "8300000010000000022B", "82000000100000000", "82ü0000010000000022B"] {
            assert_eq!(TokenPlace::of(&token(data)), None, "{data}");
        }
    }

    #[test]
    fn a_start_is_past_everything_that_was_told_before() {
        let after = Start::of(&position(Some(token("8200000010000000022B0229")))).unwrap();
        assert!(after.is_past(&event("8200000010000000022B0129")) && after.is_past(&event("8200000010000000022B0229")));
        assert!(!after.is_past(&event("8200000010000000022B0329")));
        assert_eq!(after.cluster_time(), ClusterTime { seconds: 16, ordinal: 2 });

        let beginning = Start::of(&position(None)).unwrap();
        assert!(beginning.is_past(&event("8200000010000000022B0229")), "what stands at the beginning came before it");
        assert!(!beginning.is_past(&event("8200000010000000032B0229")));
        assert_eq!(beginning.cluster_time(), ClusterTime { seconds: 16, ordinal: 3 });
    }
}
