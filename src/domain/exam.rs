//! What an examination of the parts found: each thing, how it stands, and what to do about it.

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It could not be looked at; nothing is said of it.
    Unknown,
    /// It works, and something is wrong with it.
    Warning,
    /// It does not work.
    Failed,
}

impl Grade {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exam {
    /// The part: `mongodb`, `zookeeper`, `target t1`, `key`, `clock`.
    pub part: String,
    /// Stable code of the thing, for example `oplog_window`.
    pub check: &'static str,
    /// How it stands.
    pub grade: Grade,
    /// What was found, without secrets.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

/// Takes down what is found of one part.
#[derive(Debug)]
pub struct Notes {
    part: String,
    exams: Vec<Exam>,
}

impl Notes {
    /// Nothing yet.
    pub fn of(part: impl Into<String>) -> Self {
        Self { part: part.into(), exams: Vec::new() }
    }

    /// It is as it should be.
    pub fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.note(check, Grade::Ok, found, "");
    }

    /// It could not be looked at.
    pub fn unknown(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.note(check, Grade::Unknown, found, remedy);
    }

    /// It works, and something is wrong with it.
    pub fn warning(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.note(check, Grade::Warning, found, remedy);
    }

    /// It does not work.
    pub fn failed(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.note(check, Grade::Failed, found, remedy);
    }

    fn note(&mut self, check: &'static str, grade: Grade, found: impl Into<String>, remedy: impl Into<String>) {
        let (part, found, remedy) = (self.part.clone(), found.into(), remedy.into());
        self.exams.push(Exam { part, check, grade, found, remedy });
    }

    /// Everything that was found.
    pub fn done(self) -> Vec<Exam> {
        self.exams
    }
}
