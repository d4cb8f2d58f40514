//! `rollkeeper openapi`: the document of the API.

use clap::{Args, ValueEnum};

use super::output;

/// What is printed.
#[derive(Debug, Args)]
pub(super) struct OpenapiArgs {
    /// The version of OpenAPI; 3.0 is for generators that know no later one.
    #[arg(long, value_enum, default_value = "3.1")]
    version: Version,
}

/// A version of OpenAPI.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "3.1")]
    V3_1,
    #[value(name = "3.0")]
    V3_0,
}

/// Prints the document; returns the exit code.
pub(super) fn run(args: &OpenapiArgs) -> u8 {
    let document = match args.version {
        Version::V3_1 => crate::api::openapi_json(),
        Version::V3_0 => crate::api::openapi_3_0_json(),
    };
    output::line(&document)
}
