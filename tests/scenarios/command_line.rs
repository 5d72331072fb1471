//! The command line: refusals that say why and what to do, and checks that tell a sound folder from a faulty one.

use std::{ffi::OsStr, fs, path::Path};

use harness::run_to_end;

use crate::{IOT_HUB, folder, launch, samples::Sample};

fn iot_hub(arguments: &[&str]) -> (Option<i32>, String) {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    run_to_end(IOT_HUB, &arguments)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder's path is a text")
}

#[tokio::test]
async fn second_process_is_refused_and_harms_nothing() {
    let data = folder();
    let hub = launch(data.path()).start().await;
    hub.post("/v1/readings/emb", "application/json", Sample::plain("emb3", 1, 1).json()).await.expect(202);
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["check"]] {
        let (status, said) = iot_hub(&[command, &["--data", text(data.path())]].concat());
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("in use") && said.contains(text(data.path())), "{said}");
    }
    let address = fs::read_to_string(data.path().join("address")).expect("the first hub's address is still there");
    assert_eq!(address.trim(), hub.address());
    hub.processed("emb", 1).await;
}

#[test]
fn listening_off_loopback_is_refused_unless_asked_for() {
    let data = folder();
    let (status, said) = iot_hub(&["serve", "--data", text(data.path()), "--listen", "0.0.0.0:0"]);
    assert_eq!(status, Some(1), "{said}");
    for part in ["http.listen", "0.0.0.0:0", "--listen", "--allow-anonymous", "127.0.0.1"] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[tokio::test]
async fn listening_off_loopback_is_possible_where_asked_for() {
    let data = folder();
    let flags = ["--listen", "0.0.0.0:0", "--allow-anonymous"];
    let mut hub = flags.iter().fold(launch(data.path()), |launch, flag| launch.flag(flag)).start().await;
    assert!(hub.address().starts_with("0.0.0.0:"));
    assert!(hub.stop().await.status.success());
    assert!(!data.path().join("address").exists() && !data.path().join("control.sock").exists());
}

#[test]
fn every_fault_of_the_configuration_is_named_at_once() {
    let data = folder();
    let file = data.path().join("hub.toml");
    fs::write(&file, "[http]\nlisten = \"nowhere\"\nbody_size_mx = \"1MiB\"\n[log]\nretention = \"soon\"\n")
        .expect("a file");
    let (status, said) = iot_hub(&["serve", "--data", text(data.path()), "--config", text(&file)]);
    assert_eq!(status, Some(1), "{said}");
    for part in
        ["`http.listen` of `\"nowhere\"`", "did you mean `http.body_size_max`?", "`log.retention` of `\"soon\"`"]
    {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    let (status, default) = iot_hub(&["config"]);
    assert_eq!(status, Some(0));
    fs::write(&file, default).expect("a file");
    let (status, said) = iot_hub(&["config", text(&file)]);
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn help_has_examples_and_is_what_a_bare_command_prints() {
    let (_, bare) = iot_hub(&[]);
    assert!(bare.contains("Examples:") && bare.contains("iot-hub demo"), "{bare}");
    for command in ["serve", "demo", "check", "backup", "config"] {
        let (status, help) = iot_hub(&[command, "--help"]);
        assert!(status == Some(0) && help.contains("Examples:"), "{help}");
    }
}

#[test]
fn check_of_what_is_no_data_folder_is_an_error() {
    let empty = folder();
    for path in [text(empty.path()), "/nonexistent/folder", "/dev/null"] {
        let (status, said) = iot_hub(&["check", "--data", path]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(path) && !said.contains("panicked"), "{said}");
    }
    assert_eq!(fs::read_dir(empty.path()).expect("it is there").count(), 0, "a check has made something");
}
