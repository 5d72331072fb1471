//! `iot-hub`: every service of the hub in one process.

use std::process::ExitCode;

fn main() -> ExitCode {
    iot_hub::cli::main()
}
