//! The trace that a request belongs to, as its client says (W3C Trace Context, `traceparent`).
//!
//! Rule: it only names log lines and spans. Whatever is not valid is as if it were not there, as the specification asks; nothing is
//! sent back, since `traceparent` is a header of requests.

/// Length of version, trace id, parent id and flags with the dashes between them.
const LENGTH: usize = 55;

/// A trace and the span of the caller in it, in lowercase hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// 32 digits.
    pub trace_id: String,
    /// 16 digits.
    pub parent_id: String,
    /// Whether the caller records its trace.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; none when it is not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let known_length = text.len() == LENGTH && version == "00";
        // A later version may go on after the flags.
        let later = text.len() >= LENGTH && version != "00" && version != "ff";
        let sizes = version.len() == 2 && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
        let digits = [version, trace, parent, flags].iter().all(|part| part.bytes().all(is_lower_hex));
        let named = [trace, parent].iter().all(|id| id.bytes().any(|digit| digit != b'0'));
        let good = (known_length || later) && sizes && digits && named;
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        good.then(|| Self { trace_id: trace.to_owned(), parent_id: parent.to_owned(), sampled })
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_context_is_taken_apart() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert_eq!(context.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent_id, "00f067aa0ba902b7");
        assert!(context.sampled);
        assert!(!TraceContext::parse(&GOOD.replace("-01", "-00")).unwrap().sampled);
        let later = GOOD.replacen("00", "01", 1) + "-more";
        assert!(TraceContext::parse(&later).is_some(), "a later version may say more");
    }

    #[test]
    fn what_is_not_valid_is_not_there() {
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD[1..],
            &format!("{GOOD}-more"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("4bf92f", "4bf92g"),
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
