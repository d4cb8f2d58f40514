//! Checks a backup's copies: sealed hash of every object, MAC, place, counts and root.
