//! Sealing: `age(zstd(lines))` with a last line that is the MAC over the object's place and all other lines.
