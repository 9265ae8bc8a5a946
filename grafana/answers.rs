//! What Grafana's answers mean, apart from any Grafana: each classify takes what came back
//! and tells what is wrong, in words. The shapes are those of Grafana's HTTP API
//! reference (v11 and later), which the tests quote, and of the test ids that its panels
//! have (`@grafana/e2e-selectors`, 10.4 and later).

use serde_json::Value;

/// The oldest Grafana whose answers are read here.
const OLDEST: u32 = 11;

/// `GET /api/health`: the version, once it serves.
pub fn version(health: &Value) -> Result<String, String> {
    let version = health["version"].as_str().unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match (health["database"].as_str(), major) {
        (Some("ok"), Some(major)) if major >= OLDEST => Ok(version.to_owned()),
        (Some("ok"), Some(_)) => Err(format!("Grafana {version} is older than {OLDEST}")),
        _ => Err(format!("it is not healthy: {health}")),
    }
}

/// `GET /api/search?type=dash-db`: the dashboards that are not in `folder`.
pub fn missing_dashboards(found: &Value, folder: &str, wanted: &[&str]) -> Vec<String> {
    let there = |uid: &&str| {
        let mut all = found.as_array().into_iter().flatten();
        all.any(|one| one["uid"] == **uid && one["type"] == "dash-db" && one["folderTitle"] == folder)
    };
    wanted.iter().filter(|uid| !there(uid)).map(|uid| format!("no dashboard {uid} in {folder}")).collect()
}

/// `GET /api/datasources/uid/UID/health`.
pub fn source_is_healthy(health: &Value) -> Result<(), String> {
    if health["status"] == "OK" { Ok(()) } else { Err(format!("the data source is not healthy: {health}")) }
}

/// `GET /api/v1/provisioning/alert-rules`: what of the rules of our file is not as it
/// says there.
pub fn wrong_rules(found: &Value, file: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for group in file["groups"].as_array().into_iter().flatten() {
        for rule in group["rules"].as_array().into_iter().flatten() {
            let mut all = found.as_array().into_iter().flatten();
            let Some(there) = all.find(|one| one["uid"] == rule["uid"]) else {
                wrong.push(format!("no rule {}", rule["uid"]));
                continue;
            };
            if there["ruleGroup"] != group["name"] || there["provenance"] != "file" {
                wrong.push(format!("the rule {} is not that of the file: {there}", rule["uid"]));
            }
            for field in ["title", "condition", "annotations", "noDataState", "execErrState"] {
                if there[field] != rule[field] {
                    wrong.push(format!("{}: {field} is {}, not {}", rule["uid"], there[field], rule[field]));
                }
            }
        }
    }
    wrong
}

/// The lines of its log that tell of provisioning that failed.
pub fn provisioning_errors(log: &str) -> Vec<&str> {
    let about = |line: &&str| line.contains("logger=provisioning") && line.contains("level=error");
    log.lines().filter(about).collect()
}

/// `POST /api/ds/query`: the queries that failed or found nothing.
pub fn unanswered(answer: &Value, refs: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for id in refs {
        let result = &answer["results"][*id];
        if let Some(error) = result["error"].as_str() {
            wrong.push(format!("{id}: {error}"));
            continue;
        }
        let frames = result["frames"].as_array().map_or(&[][..], Vec::as_slice);
        let filled = |frame: &Value| {
            let columns = frame["data"]["values"].as_array().map_or(&[][..], Vec::as_slice);
            columns.iter().any(|column| column.as_array().is_some_and(|values| !values.is_empty()))
        };
        if !frames.iter().any(filled) {
            wrong.push(format!("{id}: nothing was found"));
        }
    }
    wrong
}

/// What is wrong with a dashboard as a browser shows it: a panel of one of these titles
/// that is absent, one that is not done, has no data, or an error. Titles with a
/// variable in them are as the variable says, and not looked for.
pub fn wrong_in_page(dom: &str, titles: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for title in titles.iter().filter(|title| !title.contains('$') && !title.is_empty()) {
        let escaped = title.replace('&', "&amp;").replace('"', "&quot;");
        // Since HTML's serialization of 2025, `<` and `>` are escaped in attributes, too.
        let further = escaped.replace('<', "&lt;").replace('>', "&gt;");
        let header = |title: &str| dom.contains(&format!("\"data-testid Panel header {title}\""));
        if !header(&escaped) && !header(&further) {
            wrong.push(format!("the panel {title:?} is not there"));
        }
    }
    for (mark, what) in [
        ("data-testid Panel status error", "a panel has an error"),
        ("data-testid Panel data error message", "a panel has no data"),
        ("Panel loading bar", "a panel is not done"),
    ] {
        let count = dom.matches(&format!("{mark}\"")).count();
        if count > 0 {
            wrong.push(format!("{what} ({count} times)"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// "Returns health information about Grafana".
    #[test]
    fn health() {
        let answer = |version: &str| json!({"commit": "087143285", "database": "ok", "version": version});
        assert_eq!(version(&answer("12.1.1")), Ok("12.1.1".into()));
        assert!(version(&answer("5.1.3")).unwrap_err().contains("older than 11"));
        assert!(version(&json!({"database": "failing", "version": "12.1.1"})).is_err());
        assert!(version(&Value::Null).is_err());
    }

    /// "Search folders and dashboards".
    #[test]
    fn search() {
        let found = json!([{
            "id": 1, "uid": "cIBgcSjkk", "title": "Production Overview",
            "url": "/d/cIBgcSjkk/production-overview", "type": "dash-db", "tags": ["prod"],
            "isStarred": true, "uri": "db/production-overview", "folderId": 2, "folderUid": "000000163",
            "folderTitle": "Folder", "folderUrl": "/dashboards/f/000000163/folder",
        }]);
        assert!(missing_dashboards(&found, "Folder", &["cIBgcSjkk"]).is_empty());
        assert_eq!(missing_dashboards(&found, "DORA", &["cIBgcSjkk"]).len(), 1);
        assert_eq!(missing_dashboards(&found, "Folder", &["cIBgcSjkk", "b"]), ["no dashboard b in Folder"]);
        assert_eq!(missing_dashboards(&json!({"message": "Unauthorized"}), "Folder", &["a"]).len(), 1);
    }

    /// "Check data source health by UID".
    #[test]
    fn source_health() {
        let well = json!({"message": "1. Connected to the data source.", "status": "OK"});
        assert!(source_is_healthy(&well).is_ok());
        assert!(source_is_healthy(&json!({"message": "refused", "status": "ERROR"})).is_err());
        assert!(source_is_healthy(&json!({"message": "Plugin unavailable"})).is_err());
    }

    /// "ProvisionedAlertRule".
    #[test]
    fn rules() {
        let file = json!({"apiVersion": 1, "groups": [{"name": "pipeline", "folder": "DORA", "rules": [{
            "uid": "a", "title": "Stale", "condition": "above", "noDataState": "OK",
            "execErrState": "Error", "annotations": {"summary": "{{ $labels.team }}"},
        }]}]});
        let mut rule = file["groups"][0]["rules"][0].clone();
        rule["ruleGroup"] = "pipeline".into();
        rule["provenance"] = "file".into();
        rule["folderUID"] = "project_x".into();
        let found = |rule: &Value| wrong_rules(&json!([rule]), &file);
        assert!(found(&rule).is_empty(), "{:?}", found(&rule));
        rule["annotations"]["summary"] = "{{ .team }}".into();
        assert!(found(&rule)[0].contains("annotations is"));
        rule["uid"] = "b".into();
        assert_eq!(found(&rule), ["no rule \"a\""]);
    }

    #[test]
    fn log() {
        let log = "logger=provisioning.alerting t=2025-01-01T00:00:00Z level=info msg=\"finished to provision alerting\"\n\
                   logger=plugins.update t=2025-01-01T00:00:00Z level=error msg=\"no network\"\n\
                   logger=provisioning.dashboard type=file name=DORA t=2025-01-01T00:00:00Z level=error msg=\"failed to load dashboard from \" file=x.json\n";
        assert_eq!(provisioning_errors(log).len(), 1);
    }

    /// "Query a data source": one result a `refId`, with frames in columns.
    #[test]
    fn queries() {
        let answer = json!({"results": {
            "A": {"status": 200, "frames": [{
                "schema": {"refId": "A", "fields": [
                    {"name": "time", "type": "time", "typeInfo": {"frame": "time.Time"}},
                    {"name": "A-series", "type": "number", "typeInfo": {"frame": "float64", "nullable": true}},
                ]},
                "data": {"values": [[1_644_488_152_084_i64, 1_644_488_212_084_i64], [1, 20]]},
            }]},
            "B": {"status": 200, "frames": [{"schema": {"refId": "B", "fields": []}, "data": {"values": []}}]},
            "C": {"error": "parse error", "errorSource": "downstream", "status": 400, "frames": []},
        }});
        assert!(unanswered(&answer, &["A"]).is_empty());
        assert_eq!(
            unanswered(&answer, &["A", "B", "C", "D"]),
            ["B: nothing was found", "C: parse error", "D: nothing was found"]
        );
    }

    #[test]
    fn page() {
        let panel = |title: &str, inside: &str| {
            format!("<section data-testid=\"data-testid Panel header {title}\">{inside}</section>")
        };
        let titles = ["Lead & \"recovery\"".to_owned(), "$team".into(), String::new()];
        let whole = panel("Lead &amp; &quot;recovery&quot;", "<canvas></canvas>");
        assert!(wrong_in_page(&whole, &titles).is_empty());
        assert_eq!(wrong_in_page("<div>Loading Grafana</div>", &titles).len(), 1);
        for inside in [
            "<button data-testid=\"data-testid Panel status error\"></button>",
            "<div data-testid=\"data-testid Panel data error message\">No data</div>",
            "<div data-testid=\"data-testid Panel loading bar\"></div>",
            "<div aria-label=\"Panel loading bar\"></div>",
        ] {
            let dom = panel("Lead &amp; &quot;recovery&quot;", inside);
            assert_eq!(wrong_in_page(&dom, &titles).len(), 1, "{inside}");
        }
    }
}
