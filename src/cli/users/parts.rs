//! Reads a file in parts that are bounded in lines and bytes, each line with its number in the file.

use std::io::Read;

use crate::api::import::lines::{Line, Lines};

/// Most lines of a part.
const PART_LINES: usize = 5000;
/// A part is full with so many bytes.
const PART_BYTES: usize = 2 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// The parts of a file.
pub(super) struct Parts<R> {
    file: R,
    lines: Lines,
    /// Lines before this one are passed over.
    from: u64,
    read: u64,
    ended: bool,
}

impl<R: Read> Parts<R> {
    pub(super) fn of(file: R, from: u64) -> Self {
        Self { file, lines: Lines::default(), from, read: 0, ended: false }
    }

    /// The bytes that were read.
    pub(super) const fn bytes(&self) -> u64 {
        self.read
    }

    /// The next part; empty at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Vec<Line>> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            while let Some(line) = self.lines.next() {
                if line.number < self.from {
                    continue;
                }
                bytes += line.text.as_ref().map_or(0, Vec::len);
                part.push(line);
                if part.len() == PART_LINES || bytes >= PART_BYTES {
                    return Ok(part);
                }
            }
            if self.ended {
                return Ok(part);
            }
            match self.file.read(&mut buffer) {
                Ok(0) => {
                    self.lines.end();
                    self.ended = true;
                }
                Ok(count) => {
                    self.read += count as u64;
                    self.lines.push(&buffer[..count]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded_and_lines_keep_their_numbers() {
        let text = "{}\n".repeat(PART_LINES + 3);
        let mut parts = Parts::of(text.as_bytes(), 2);
        let (first, second) = (parts.next().unwrap(), parts.next().unwrap());
        assert_eq!((first.len(), first[0].number), (PART_LINES, 2));
        assert_eq!((second.len(), second[0].number), (2, PART_LINES as u64 + 2));
        assert!(parts.next().unwrap().is_empty());
        assert_eq!(parts.bytes(), text.len() as u64);

        let long = format!("{}\n", "x".repeat(60_000)).repeat(100);
        let mut parts = Parts::of(long.as_bytes(), 1);
        let first = parts.next().unwrap();
        assert_eq!(first.len(), PART_BYTES.div_ceil(60_000));
    }
}
