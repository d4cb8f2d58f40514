//! Writes objects to all targets at once: durable at the write quorum, never waiting for a target beyond it.
