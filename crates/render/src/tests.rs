use serde_json::json;

use super::*;

fn overrides(files: &[(&str, &str)]) -> Overrides {
    Overrides::from_map(files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect())
}

fn render_as(name: &str, text: &str, values: serde_json::Value) -> Result<String, RenderError> {
    let overrides = overrides(&[(name, text)]);
    let rendered = Renderer::new(&overrides).render(name, &Context::new(&values));
    rendered.map(|rendered| rendered.text)
}

fn error_of(name: &str, text: &str, values: serde_json::Value) -> String {
    render_as(name, text, values).expect_err("the template is wrong").to_string()
}

#[test]
fn an_undefined_name_is_an_error_with_file_line_and_name() {
    let values = json!({"mimir": {"tenant": "dora"}, "name": "x"});
    for (text, line, name) in [
        ("a: 1\nb: {{ mimir.tennant }}\n", 2, "mimir.tennant"),
        ("a: {{ nome }}\n", 1, "nome"),
        ("a: {{ name ~ nome }}\n", 1, "nome"),
        ("a: 1\n\n{% if mimir.on %}\n{% endif %}\n", 3, "mimir.on"),
        ("{% for a in mimir.list %}\n{% endfor %}\n", 1, "mimir.list"),
        ("a: {{ ref(\"a.b\", nome, \"email\") }}\n", 1, "nome"),
        ("a: {{ nome | upper }}\n", 1, "nome"),
        ("a: {{ nome.deeper }}\n", 1, "nome"),
    ] {
        let error = error_of("stack/a.yaml.j2", text, values.clone());
        assert!(error.starts_with(&format!("stack/a.yaml.j2, line {line}: ")), "{text}: {error}");
        assert!(error.contains(&format!("`{name}` is undefined")), "{text}: {error}");
    }
    let error = error_of("a.yaml.j2", "a: {{ [name, nome] }}\n", values.clone());
    assert_eq!(error, "a.yaml.j2, line 1: an item of this value is undefined");
    assert_eq!(render_as("a.yaml.j2", "a: {{ nome | default(name) }}", values).unwrap(), "a: \"x\"");
}

#[test]
fn a_syntax_error_and_an_unknown_name_of_a_template_are_told() {
    let error = error_of("a.sh.j2", "echo\n{% if x %}\n", json!({"x": 1}));
    assert!(error.starts_with("a.sh.j2, line "), "{error}");
    assert!(error.contains("syntax error"), "{error}");

    let overrides = overrides(&[("vm/mimir.yaml.j2", "")]);
    let error = Renderer::new(&overrides).render("vm/mimmir.yaml.j2", &Context::new(&json!({}))).unwrap_err();
    assert_eq!(error.to_string(), "there is no template `vm/mimmir.yaml.j2`");
    assert_eq!(error.hint().unwrap(), "did you mean `vm/mimir.yaml.j2`?");
}

#[test]
fn yaml_takes_every_value_as_json() {
    let hostile = "a\": x\n---\n# 'b' \u{85}\u{2028}\u{7f}\\ $(x) {{ y }} ${{ z }}";
    let values =
        json!({"s": hostile, "n": 3, "f": 1.5, "b": true, "l": [1, "x"], "m": {"k: ": hostile}, "z": null});
    let text = "s: {{ s }}\nn: {{ n }}\nf: {{ f }}\nb: {{ b }}\nl: {{ l }}\nm: {{ m }}\nz: {{ z }}\ni: [{{ s }}, {{ n }}]\n\
                - {{ s }}\n";
    let rendered = render_as("a.yaml.j2", text, values.clone()).unwrap();
    assert_eq!(rendered.lines().count(), 9, "{rendered}");
    let (mapping, item) = rendered.split_once("- ").unwrap();
    let read: serde_json::Value = serde_saphyr::from_str(mapping).unwrap();
    for key in ["s", "n", "f", "b", "l", "m", "z"] {
        assert_eq!(read[key], values[key]);
    }
    assert_eq!(serde_json::from_str::<String>(item.trim()).unwrap(), hostile);
}

#[test]
fn dollars_are_kept_from_programs_that_expand_them() {
    let values = json!({"s": "$HOME ${a.b/c.d}"});
    for (name, expected) in [
        ("resources/a.yaml.j2", r#"a: "$HOME ${a.b/c.d}""#),
        ("vm/mimir.yaml.j2", r#"a: "\u0024HOME \u0024{a.b/c.d}""#),
        ("stack/compose.yaml.j2", r#"a: "$$HOME ${a.b/c.d}""#),
        ("stack/grafana/a/b.yaml.j2", r#"a: "$$HOME ${a.b/c.d}""#),
    ] {
        assert_eq!(render_as(name, "a: {{ s }}", values.clone()).unwrap(), expected);
    }
}

#[test]
fn shell_words_survive_a_shell() {
    let hostile = "a'b\"c $(touch /nonexistent/x) `id` \\ \n*; #";
    let script = "printf '%s|' {{ s }} x{{ s }} {{ l }} {{ n }} {{ b }}\n";
    let values = json!({"s": hostile, "l": ["a b", "'"], "n": 7, "b": false});
    let rendered = render_as("a.sh.j2", script, values).unwrap();
    let output = std::process::Command::new("sh").arg("-c").arg(&rendered).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, format!("{hostile}|x{hostile}|a b|'|7|false|"));

    let error = error_of("a.sh.j2", "x={{ m }}", json!({"m": {}}));
    assert_eq!(error, "a.sh.j2, line 1: a value of type map has no spelling in a shell script");
}

#[test]
fn unit_files_quote_what_systemd_would_read() {
    let spell = |text: &str| render_as("a.service.j2", "ExecStart=/bin/x {{ s }}", json!({"s": text}));
    assert_eq!(spell("/var/lib-x.y").unwrap(), "ExecStart=/bin/x /var/lib-x.y");
    assert_eq!(spell("a \"b\" %n \\").unwrap(), r#"ExecStart=/bin/x "a \"b\" %%n \\""#);
    assert_eq!(spell("").unwrap(), r#"ExecStart=/bin/x """#);
    assert!(spell("a\nExecStart=/bin/evil").unwrap_err().to_string().contains("control character"));
    assert!(spell("$HOME").unwrap_err().to_string().contains("each directive"));
}

#[test]
fn plain_files_take_one_line_only() {
    assert_eq!(render_as("a.txt.j2", "{{ s }}", json!({"s": "a 'b'"})).unwrap(), "a 'b'");
    assert!(error_of("a.txt.j2", "{{ s }}", json!({"s": "a\nb"})).contains("control character"));
    assert!(error_of("a.j2", "{{ s }}", json!({"s": ["a"]})).contains("type sequence"));
}

#[test]
fn nothing_is_written_unspelled() {
    let values = || json!({"s": "a'; rm"});
    for filter in ["safe", "e", "escape", "tojson"] {
        let error = error_of("a.sh.j2", &format!("x={{{{ s | {filter} }}}}"), values());
        assert!(error.contains("unknown filter"), "{filter}: {error}");
    }
    for text in [
        "{% set x %}{{ s }}{% endset %}echo {{ x }}",
        "{% macro m() %}{{ s }}{% endmacro %}echo {{ m() }}",
        "{% filter upper %}{{ s }}{% endfilter %}",
    ] {
        let rendered = render_as("a.sh.j2", text, values()).unwrap();
        let output =
            std::process::Command::new("sh").arg("-c").arg(format!(": {rendered}")).output().unwrap();
        assert!(output.status.success(), "{rendered}");
        assert!(rendered.contains(r"'\''"), "{rendered}");
    }
    let error = error_of("a.sh.j2", "{% autoescape false %}{{ s }}{% endautoescape %}", values());
    assert!(error.contains("`autoescape` block is not allowed"), "{error}");
}

#[test]
fn a_value_in_a_place_where_it_could_break_out_is_refused() {
    let refused = |name: &str, text: &str| {
        let error = error_of(name, text, json!({"s": "x", "two": "a\nb"}));
        assert!(error.contains("a value"), "{text}: {error}");
        error
    };
    for text in [
        "a: \"{{ s }}\"\n",
        "a: '{{ s }}'\n",
        "a: \"b: {{ s }}\"\n",
        "a: https://{{ s }}\n",
        "a: {{ s }}/path\n",
        "a: b {{ s }}\n",
        "a:{{ s }}\n",
        "a - {{ s }}\n",
        "{{ s }}{{ s }}\n",
    ] {
        refused("a.yaml.j2", text);
    }
    for text in [
        "echo \"{{ s }}\"\n",
        "echo 'a {{ s }}'\n",
        "echo \"${x:-{{ s }}}\"\n",
        "echo \"a\nb {{ s }}\"\n",
        "awk '\n{{ s }}\n'\n",
        "cat <<EOF\n{{ s }}\nEOF\n",
        "cat <<-'EOF' >x\n\tit's {{ s }}\n\tEOF\n",
        "# {{ two }}\n",
    ] {
        refused("a.sh.j2", text);
    }
    refused("a.service.j2", "ExecStart=\"/bin/{{ s }}\"\n");
    assert_eq!(
        refused("a.yaml.j2", "x: 1\ny: \"{{ s }}\"\n"),
        "a.yaml.j2, line 2: a value stands inside quotes: it is written with its own, so leave these out"
    );
}

#[test]
fn values_in_their_proper_places_are_taken() {
    for text in [
        "a: {{ s }}\n",
        "a: {{ s }} # don't \"\n",
        "# it's {{ s }}\na: 'b'\n",
        "a: [x, {{ s }}, {b: {{ s }}}]\n",
        "- {{ s }}\n- - {{ s }}\n- a: {{ s }}\n",
        "{{ s }}: {{ s }}\n",
        "{\"a\":{{ s }},\"b\": {{ s }}}\n",
        "a: don't\nb: {{ s }}\n",
        "a: \"b\\\"\"\nb: {{ s }}\n",
        "a:\n  {{ s }}\n",
    ] {
        render_as("a.yaml.j2", text, json!({"s": "x"})).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for text in [
        "a={{ s }}\n",
        "a=\"$b\"{{ s }}'c'\n",
        "# don't\na={{ s }}\n",
        "echo \"it's\" {{ s }}\n",
        "echo $# {{ s }}\n",
        "echo \\\" {{ s }}\n",
        "cat <<'EOF'\nit's\nEOF\na={{ s }}\n",
        "cat <<<x; a={{ s }}\n",
        "x=$((1<<2))\na={{ s }}\n",
        "x=\"a\nb\"{{ s }}\n",
    ] {
        render_as("a.sh.j2", text, json!({"s": "x"})).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn a_file_includes_only_its_own_format() {
    let files = overrides(&[
        ("a.yaml.j2", "{% include \"b.yaml.j2\" %}"),
        ("b.yaml.j2", "x: 1\ny: {{ s }}\n"),
        ("c.sh.j2", "{% include \"b.yaml.j2\" %}"),
    ]);
    let renderer = Renderer::new(&files);
    let context = Context::new(&json!({"s": "x"}));
    assert_eq!(renderer.render("a.yaml.j2", &context).unwrap().text, "x: 1\ny: \"x\"\n");
    let error = renderer.render("c.sh.j2", &context).unwrap_err().to_string();
    assert!(error.contains("b.yaml.j2 cannot be included here"), "{error}");
    let error = renderer.render("a.yaml.j2", &Context::new(&json!({}))).unwrap_err().to_string();
    assert_eq!(error, "b.yaml.j2, line 2: `s` is undefined");
}

#[test]
fn every_byte_knows_its_line_in_the_template() {
    let text = "{# a comment #}\na: 1\n{%- for x in l %}\n- {{ x }}\n  b: 2\n{%- endfor %}\nend: 3\n";
    let files = overrides(&[("a.yaml.j2", text)]);
    let rendered =
        Renderer::new(&files).render("a.yaml.j2", &Context::new(&json!({"l": ["p", "q"]}))).unwrap();
    let line_of = |needle: &str| rendered.template_line(rendered.text.find(needle).unwrap()).unwrap();
    assert_eq!(line_of("a: 1"), 2);
    assert_eq!(line_of("\"q\""), 4);
    assert_eq!(line_of("b: 2"), 5);
    assert_eq!(line_of("end"), 7);
}

#[test]
fn references_are_spelled_for_the_engine() {
    let text = "a: {{ \"serviceAccount:\" ~ ref(\"iam.serviceAccount\", n, \"email\") }}";
    assert_eq!(
        render_as("a.yaml.j2", text, json!({"n": "x-mimir"})).unwrap(),
        "a: \"serviceAccount:${iam.serviceAccount/x-mimir.email}\""
    );
    let error = error_of("a.yaml.j2", text, json!({"n": "x}y"}));
    assert!(error.contains("names no resource"), "{error}");
}

#[test]
fn a_folder_overrides_by_path_and_a_misspelled_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("stack")).unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    std::fs::write(dir.path().join(".git/config"), "x").unwrap();
    std::fs::write(dir.path().join("stack/prometheus.yml.j2"), "a: 1\nb: {{ nome }}\n").unwrap();
    let read = read_overrides(dir.path()).unwrap();
    assert_eq!(read.names().collect::<Vec<_>>(), ["stack/prometheus.yml.j2"]);
    let error =
        Renderer::new(&read).render("stack/prometheus.yml.j2", &Context::new(&json!({}))).unwrap_err();
    let file = dir.path().join("stack/prometheus.yml.j2");
    assert_eq!(error.to_string(), format!("{}, line 2: `nome` is undefined", file.display()));

    for (wrong, meant) in [
        ("stack/promtheus.yml.j2", Some("stack/prometheus.yml.j2")),
        ("prometheus.yml.j2", Some("stack/prometheus.yml.j2")),
        ("stack/prometheus.yml", Some("stack/prometheus.yml.j2")),
        ("README.md", None),
    ] {
        let path = dir.path().join(wrong);
        std::fs::write(&path, "").unwrap();
        let error = read_overrides(dir.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("{} overrides no template", path.display()));
        let hint = error.hint().unwrap();
        match meant {
            Some(meant) => assert!(hint.contains(&format!("did you mean `{meant}`?")), "{hint}"),
            None => assert!(!hint.contains("did you mean"), "{hint}"),
        }
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(matches!(read_overrides(dir.path()), Err(RenderError::Read { .. })));
    assert!(matches!(read_overrides(&dir.path().join("none")), Err(RenderError::Read { .. })));
}

#[test]
fn overrides_made_of_a_map_are_taken_as_they_are() {
    let map = BTreeMap::from([("vm/x.sh.j2".to_owned(), "echo\n".to_owned())]);
    let overrides = Overrides::from_map(map);
    assert_eq!(overrides.get("vm/x.sh.j2"), Some("echo\n"));
    assert_eq!(Overrides::none().names().count(), 0);
}
