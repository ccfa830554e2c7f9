//! What holds for any input.

use proptest::prelude::*;

use super::*;

/// Text that comes near to a configuration, so that more than the first line of defence is tried.
fn near_toml() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[app.web]\n".to_owned()),
        Just("[defaults]\n".to_owned()),
        Just("[alerts.a]\n".to_owned()),
        Just("[[app]]\n".to_owned()),
        Just("[app.web.http]\n".to_owned()),
        Just("unit = \"web\"\n".to_owned()),
        Just("http = { url = \"/\", json = { a.b = 1 } }\n".to_owned()),
        "(port|failures|timeout|http|events|kind|app|web|\"\"|a\\.b) = ",
        "[\\[\\]{}=\"'#.,\n\\\\ äé]{0,6}",
        "-?[0-9]{1,3}(s|m)?\n",
        "\\PC{0,8}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn check(text: &[u8]) {
    let host = Host::new().file("app-monitor.toml", text);
    let Err(errors) = host.load() else { return };
    assert!(!errors.0.is_empty());
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.split('\n').collect();
    for error in &errors.0 {
        let Origin::File { line, column, .. } = error.place else { panic!("{error}") };
        if line == 0 {
            continue;
        }
        assert!(line as usize <= lines.len(), "{error}");
        // The end of a line is a place, too.
        assert!((1..=lines[line as usize - 1].chars().count() + 1).contains(&(column as usize)), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    #[test]
    fn no_text_panics_and_every_error_has_a_place(text in near_toml()) {
        check(text.as_bytes());
    }

    #[test]
    fn no_variable_panics(name in "(APP_[A-Z_]{0,8}|UNIT|PORT|HTTP|[A-Z_]{0,12})", value in "\\PC{0,20}") {
        let host = Host::with("[app.web]\nunit = \"web\"\n");
        let _ = host.variable(&format!("APP_MONITOR_{name}"), &value).load();
        let _ = Host::new().variable(&format!("APP_MONITOR_{name}"), &value).load();
    }

    #[test]
    fn settings_read_back_as_they_were_written(
        failures in 1u32..=100, timeout in 100u64..=300_000, port in 1u16.., watch: bool,
    ) {
        let mode = if watch { "watch" } else { "act" };
        let timeout = duration::show(Duration::from_millis(timeout));
        let settings = Host::with(&format!(
            "[app.web]\nunit = \"web\"\nfailures = {failures}\ntimeout = \"{timeout}\"\nport = {port}\n\
             mode = \"{mode}\"\nhttp = {{ url = \"/\", json = {{ a = 1.5 }} }}\n"
        ))
        .settings();
        let text = serde_json::to_string(&settings).unwrap();
        prop_assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
    }
}
