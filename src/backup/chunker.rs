//! Cuts sorted records into chunks where the keyed hash of an id says so.
