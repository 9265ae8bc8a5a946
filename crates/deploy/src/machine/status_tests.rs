use serde_json::json;

use super::*;

const START: &str = "2026-01-02T03:04:05.900-08:00";

fn document(seq: u64, boot: &str, stage: &str) -> Document {
    Document { seq, boot: boot.into(), stage: stage.into(), ..Document::default() }
}

fn line(seq: u64, boot: &str, stage: &str) -> String {
    let said = json!({"seq": seq, "boot": boot, "stage": stage, "disk-gb": "20", "retrying": false});
    format!("2026-01-02T11:04:09.000Z startup-script[7]: dorainfra-status {said}\n")
}

fn shown(text: &str) -> Serial {
    let mut serial = Serial::default();
    serial.feed(text);
    serial
}

fn believed(serial: &Serial, attribute: Option<&Document>) -> Option<(u64, bool)> {
    newest(serial, attribute, false, START).map(|(document, current)| (document.seq, current))
}

#[test]
fn the_newest_line_counts_wherever_the_reading_was_cut() {
    let whole = line(1, "a", "boot") + "mimir[9]: level=info\r\n" + &line(2, "a", "ready");
    for at in 0..whole.len() {
        let mut serial = shown(&whole[..at]);
        serial.feed(&whole[at..]);
        assert_eq!(serial.last.as_ref().map(|last| (last.seq, &*last.stage)), Some((2, "ready")), "{at}");
    }
    // Half a document is none, and neither is the engine's own.
    let damaged = whole.clone() + "x: dorainfra-status {\"seq\": 3, \"sta[  12.5] kernel: oops\n";
    assert_eq!(shown(&damaged).last.unwrap().seq, 2);
    let forged = line(3, "a", "ready").replace("startup-script[7]", "mimir[7]");
    assert_eq!(shown(&(whole + &forged)).last.unwrap().seq, 2);
}

#[test]
fn what_was_told_before_a_boot_is_not_believed() {
    for boots in
        ["[    0.000000] Linux version 6.1.0\n", "BdsDxe: loading Boot0002\r\n", "SeaBIOS (version 1.8)\n"]
    {
        let serial = shown(&(line(7, "a", "ready") + boots));
        assert_eq!(believed(&serial, None), Some((7, false)), "{boots}");
        // The attribute is the same, or older.
        assert_eq!(believed(&serial, Some(&document(7, "a", "ready"))), Some((7, false)));
        assert_eq!(believed(&serial, Some(&document(6, "a", "ready"))), Some((7, false)));
        // Of the boot that runs, and not shown.
        assert_eq!(believed(&serial, Some(&document(1000, "b", "boot"))), Some((1000, true)));
        let again = shown(&(line(7, "a", "ready") + boots + &line(1000, "b", "boot")));
        assert_eq!(believed(&again, Some(&document(7, "a", "ready"))), Some((1000, true)));
    }
    // Nothing is shown of the boot that runs: believed once it changes.
    let serial = shown("[    0.000000] Linux version 6.1.0\n");
    let kept = document(7, "a", "ready");
    assert_eq!(believed(&serial, Some(&kept)), Some((7, false)));
    assert!(newest(&serial, Some(&kept), true, START).unwrap().1);
}

#[test]
fn what_was_told_before_the_api_started_it_is_not_believed() {
    let at = |booted: &str| Document { booted: booted.into(), ..document(7, "a", "ready") };
    let silent = Serial::default();
    // The second is the same: Google's clock tells no less on the machine.
    assert_eq!(believed(&silent, Some(&at("2026-01-02T11:04:05Z"))), Some((7, true)));
    assert_eq!(believed(&silent, Some(&at("2026-01-02T11:04:04Z"))), Some((7, false)));
    assert_eq!(believed(&silent, Some(&at(""))), Some((7, true)));
}

#[test]
fn attributes_of_an_earlier_release_are_understood() {
    let item = |key: &str, value: &str| json!({"namespace": "dorainfra", "key": key, "value": value});
    let mut items = vec![
        item("stage", "rolled-back"),
        item("wanted-certificate", "1:ab"),
        item("updated", "2026-01-02T03:04:05Z"),
    ];
    let older = Document::of_attributes(&items).unwrap();
    assert!(older.older && older.stage == "rolled-back" && older.wanted_certificate == "1:ab");
    // Beside a document, the newer of both.
    let said = |time: &str| item("status", &json!({"seq": 1, "stage": "ready", "updated": time}).to_string());
    items.push(said("2026-01-02T03:04:06Z"));
    assert_eq!(Document::of_attributes(&items).unwrap().stage, "ready");
    items.pop();
    items.push(said("2026-01-02T03:04:04Z"));
    assert_eq!(Document::of_attributes(&items).unwrap().stage, "rolled-back");
    assert_eq!(Document::of_attributes(&[]), None);
    assert_eq!(Document::of_attributes(&[item("status", "{")]), None);
}

#[test]
fn who_is_heard_lives_whatever_the_clocks_say() {
    let early = r#"x: dorainfra-status {"seq": 7, "boot": "a", "booted": "2026-01-02T11:00:00Z"}"#;
    let mut serial = shown(&format!("{early}\n"));
    assert_eq!(believed(&serial, None), Some((7, false)));
    serial.feed(&format!("{}\n", early.replace('7', "8")));
    assert_eq!(believed(&serial, None), Some((8, true)));
    serial.feed("[    0.000000] Linux version 6.1.0\n");
    assert_eq!(believed(&serial, None), Some((8, false)));
}

#[test]
fn fuzzed_metadata_is_told_or_read() {
    dorainfra_testutils::fuzzing::five_seconds("machine-metadata", |input| {
        let text = String::from_utf8_lossy(input);
        let mut serial = Serial::default();
        serial.feed(&text);
        if let Ok(items) = serde_json::from_str::<Vec<Value>>(&text) {
            let _ = format!("{:?}", Document::of_attributes(&items));
            let document = items.iter().find_map(|item| item["value"].as_str()).unwrap_or_default();
            serial.feed(&format!("dorainfra-status: {document}\n"));
        }
    });
}
