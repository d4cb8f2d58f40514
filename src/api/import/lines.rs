//! Cuts a stream of bytes into lines.
//!
//! Rule: a line that is too long costs no memory past its limit, and keeps its number.

/// Longest line, in bytes.
pub(crate) const LINE_MAX: usize = 64 << 10;

/// One line: its number, and its text unless it was too long.
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) text: Option<Vec<u8>>,
}

/// Cuts chunks into lines, and holds no more of a line than is allowed.
#[derive(Default)]
pub(crate) struct Lines {
    ready: std::collections::VecDeque<Line>,
    open: Vec<u8>,
    too_long: bool,
    number: u64,
}

impl Lines {
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        for (at, piece) in chunk.split(|byte| *byte == b'\n').enumerate() {
            if at > 0 {
                self.close();
            }
            if self.open.len() + piece.len() > LINE_MAX {
                self.too_long = true;
            }
            if !self.too_long {
                self.open.extend_from_slice(piece);
            }
        }
    }

    pub(crate) fn end(&mut self) {
        self.close();
    }

    fn close(&mut self) {
        self.number += 1;
        let text = std::mem::take(&mut self.open);
        let too_long = std::mem::take(&mut self.too_long);
        if too_long || !text.trim_ascii().is_empty() {
            self.ready.push_back(Line { number: self.number, text: (!too_long).then_some(text) });
        }
    }

    pub(crate) fn next(&mut self) -> Option<Line> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_across_chunks_and_a_long_one_keeps_its_number() {
        let mut lines = Lines::default();
        lines.push(b"one\n\ntw");
        lines.push(b"o\r\n");
        lines.push(&vec![b'x'; LINE_MAX + 1]);
        lines.push(b"\nlast");
        lines.end();
        let cut: Vec<_> = std::iter::from_fn(|| lines.next()).map(|line| (line.number, line.text)).collect();
        let text = |text: &[u8]| Some(text.to_vec());
        assert_eq!(cut, [(1, text(b"one")), (3, text(b"two\r")), (4, None), (5, text(b"last"))]);
    }
}
