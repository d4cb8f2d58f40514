//! What people read: columns, and the fields of one thing.

use serde_json::Value;

/// A value of an answer as a cell: a hyphen where there is none.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) if !items.is_empty() => items.iter().map(cell).collect::<Vec<_>>().join(","),
        _ => "-".to_owned(),
    }
}

/// The named fields of each item, a line for each.
pub(super) fn rows(items: &[Value], fields: &[&str]) -> Vec<Vec<String>> {
    items.iter().map(|item| fields.iter().map(|field| cell(&item[*field])).collect()).collect()
}

/// One thing, a line for each of its fields; those without a value are left out.
pub(super) fn fields(lines: &[(&str, String)]) -> String {
    let told: Vec<&(&str, String)> = lines.iter().filter(|(_, value)| value != "-" && !value.is_empty()).collect();
    let width = told.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    told.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect::<Vec<_>>().concat()
}

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
