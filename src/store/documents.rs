//! The BSON shape of every document, and its way to and from the domain.
