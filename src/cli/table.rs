//! Columns for people.

/// Lines of cells as text, each column as wide as its widest cell.
pub(super) fn columns(head: &[&str], lines: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let row = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        format!("  {}\n", padded.join("  ").trim_end())
    };
    let mut text = row(head.to_vec());
    for line in lines {
        text += &row(line.iter().map(String::as_str).collect());
    }
    text
}
