//! What is damaged, missing, planted or of somebody else on a target: the vault names it and never takes it for whole.
