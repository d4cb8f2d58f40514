//! How many connections there is room for, as far as the system lets this process have files.
//!
//! Rule: some files are kept for everything else. A connection for which there is none could not even be told so: it would wait.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for MongoDB, ZooKeeper, targets, scratch, the log, and connections that are being refused.
const KEPT: u64 = 512;

/// Takes as many files as the system allows, and tells how many connections may be open at a time.
pub(in crate::api) fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    // The lower of the two limits is there for programs that use `select`; ours may take what the higher one says.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let files = if raised.is_ok() { limit.maximum } else { limit.current };
    let room = room(wanted, files);
    if room < wanted {
        tracing::warn!(
            room,
            wanted,
            "the system allows fewer open files than limits.connections needs; raise the limit (LimitNOFILE, ulimit -n)"
        );
    }
    room
}

fn room(wanted: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return wanted };
    // Where there are next to none, half of them.
    let room = files.saturating_sub(KEPT).max(files / 2);
    usize::try_from(room).unwrap_or(usize::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        for (wanted, files, expected) in [
            (4096, None, 4096),
            (4096, Some(20_000), 4096),
            (4096, Some(1024), 512),
            (4096, Some(256), 128),
            (20, Some(1024), 20),
        ] {
            assert_eq!(room(wanted, files), expected, "{wanted} of {files:?}");
        }
    }
}
