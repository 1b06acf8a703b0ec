use std::collections::BTreeMap;

use super::{Template, Value, harmless};

fn document() -> Value {
    let json = r#"{
        "Id": "abc", "Name": "/web", "State": {"Status": "running", "Pid": 42, "Paused": false, "Health": null},
        "Config": {"Labels": {"b": "2", "a": "1"}, "Env": ["A=b", "C=<d>"], "Cmd": []},
        "Mixed": [1, "x", null, 2.5], "Half": 1.5, "Big": 1e21, "Small": 0.00001
    }"#;
    Value::document("container", &serde_json::from_str(json).expect("JSON"), false)
}

fn row() -> Value {
    let labels = BTreeMap::from([("com.x.my-key".to_owned(), "v".to_owned())]);
    let cells = vec![("Names", "web".into()), ("ID", "0123456789ab".into()), ("Tag", "<none>".into())];
    Value::row("*formatter.ContainerContext", cells, labels)
}

fn made(template: Result<Template, String>, data: &Value) -> String {
    template.and_then(|template| template.execute(data)).unwrap_or_else(|error| error)
}

fn check(template: &str, expect: &str) {
    assert_eq!(made(Template::of_documents("", template), &document()), expect, "{template}");
}

#[test]
fn fields_variables_and_text() {
    for (template, expect) in [
        ("plain", "plain"),
        ("{{.Name}}", "/web"),
        ("a{{.State.Status}}b", "arunningb"),
        ("{{.State.Pid}} {{.State.Paused}} {{.Half}} {{.Big}} {{.Small}}", "42 false 1.5 1e+21 1e-05"),
        ("{{.Config.Env}} {{.Config.Labels}} {{.Mixed}}", "[A=b C=<d>] map[a:1 b:2] [1 x <nil> 2.5]"),
        ("{{.State.Health}}", "<nil>"),
        ("{{.Config.Labels.missing}}|{{index .Config.Labels \"missing\"}}|", "<no value>||"),
        ("{{(index .Config.Env 0)}}", "A=b"),
        ("{{(.State).Pid}}", "42"),
        ("{{$x := .Id}}{{$x}}{{$x = \"y\"}}{{$x}}", "abcy"),
        ("{{$.Name}}", "/web"),
        ("a {{- /* nothing */ -}}  b", "ab"),
        ("a  {{- .Id -}}  b", "aabcb"),
        ("{{/* nothing */}}x", "x"),
        ("{{\"q\\t\\x41\\u00e9\"}}{{`raw\\t`}}{{'a'}}", "q\tAéraw\\t97"),
        ("{{0x10}} {{010}} {{1_000}} {{-5}} {{1.5e3}} {{true}}", "16 8 1000 -5 1500 true"),
    ] {
        check(template, expect);
    }
}

#[test]
fn control() {
    for (template, expect) in [
        ("{{if .State.Paused}}p{{else if eq .State.Status \"running\"}}r{{else}}x{{end}}", "r"),
        ("{{if not .Config.Cmd}}none{{end}}", "none"),
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<A=b><C=<d>>"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}};{{end}}", "0=A=b;1=C=<d>;"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}{{$v}} {{end}}", "a1 b2 "),
        ("{{range .Config.Cmd}}x{{else}}empty{{end}}", "empty"),
        ("{{range .Mixed}}{{if eq (print .) \"1\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}", "x"),
        ("{{$n := 0}}{{range .Config.Env}}{{$n = len .}}{{end}}{{$n}}", "5"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Config.Cmd}}x{{else}}y{{end}}", "42y"),
        ("{{with $x := .Id}}{{$x}}{{end}}", "abc"),
    ] {
        check(template, expect);
    }
}

#[test]
fn functions() {
    for (template, expect) in [
        ("{{json .State}}", r#"{"Status":"running","Paused":false,"Pid":42,"Health":null}"#),
        ("{{json .Config.Env}} {{json .Mixed}}", r#"["A=b","C=<d>"] [1,"x",null,2.5]"#),
        (
            "{{upper .Id}} {{lower \"ABC\"}} {{title \"two words-more o'clock\"}}",
            "ABC abc Two Words-More O'Clock",
        ),
        ("{{join .Config.Env \", \"}}", "A=b, C=<d>"),
        ("{{index (split .Name \"/\") 1}}", "web"),
        ("{{.Config.Env | len | printf \"%03d\"}}", "002"),
        ("[{{pad .Id 1 2}}]{{truncate .Name 2}}{{truncate .Id 9}}", "[ abc  ]/wabc"),
        ("{{slice .Id 1}} {{slice .Id 0 1}} {{index .Id 0}}", "bc a 97"),
        ("{{print 1 2 \"a\" \"b\" 3}}|{{println \"a\" 1}}", "1 2ab3|a 1\n"),
        (
            "{{and 1 0}} {{or 0 \"x\"}} {{and}}",
            "template: :1:27: executing \"\" at <and>: wrong number of args for and: want at least 1 got 0",
        ),
        (
            "{{eq 1 2 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
            "true true true true true false",
        ),
        ("{{eq nil .State.Health}}", "true"),
        ("{{html \"<a>\"}} {{urlquery \"a b&c\"}}", "&lt;a&gt; a+b%26c"),
    ] {
        check(template, expect);
    }
}

#[test]
fn printf_is_gos() {
    for (format, values, expect) in [
        ("%s %v %q", "\"a\" \"b\" \"c\\n\"", "a b \"c\\n\""),
        ("%5d|%-5d|%05d|%+d|%x|%X|%o|%b", "1 2 3 4 255 255 8 5", "    1|2    |00003|+4|ff|FF|10|101"),
        ("%.2f|%8.3f|%e|%g", "1.005 3.14159 12345.678 0.5", "1.00|   3.142|1.234568e+04|0.5"),
        ("%-6s|%6s|%.2s|%x", "\"ab\" \"cd\" \"efgh\" \"hi\"", "ab    |    cd|ef|6869"),
        ("%t %c %U %T %T", "true 65 65 1 \"s\"", "true A U+0041 int string"),
        ("%d", "\"x\"", "%!d(string=x)"),
        ("%s", "5", "%!s(int=5)"),
        ("%s", "", "%!s(MISSING)"),
        ("%d", "1 2", "1%!(EXTRA int=2)"),
        ("100%%%", "", "100%%!(NOVERB)"),
        ("%v %d", ".Config.Env .Mixed", "[A=b C=<d>] [1 %!d(string=x) <nil> %!d(float64=2.5)]"),
        ("%*d", "4 7", "   7"),
    ] {
        check(&format!("{{{{printf {format:?} {values}}}}}"), expect);
    }
}

#[test]
fn templates_in_templates() {
    for (template, expect) in [
        ("{{define \"x\"}}<{{.}}>{{end}}{{template \"x\" .Id}}{{template \"x\" 7}}", "<abc><7>"),
        ("{{template `x`}}{{define `x`}}{{.}}{{end}}", "<no value>"),
        ("{{block \"x\" .State}}{{.Pid}}{{end}}{{template \"x\" .State}}", "4242"),
        ("{{define \"x\"}}1{{end}}{{define \"x\"}}2{{end}}{{define \"x\"}} {{end}}{{template \"x\"}}", "2"),
        (
            "{{$y := 1}}{{define \"x\"}}{{range $.Env}}{{.}};{{end}}{{end}}{{template \"x\" .Config}}{{$y}}",
            "A=b;C=<d>;1",
        ),
        (
            "{{define \"down\"}}{{if gt (len .) 1}}{{.}} {{template \"down\" (slice . 1)}}{{end}}{{end}}{{template \"down\" .Id}}",
            "abc bc ",
        ),
    ] {
        check(template, expect);
    }
    let fails =
        "template: :1:19: executing \"\" at <{{template \"nope\" .Id}}>: template \"nope\" not defined";
    check("{{.Id}}{{ template \"nope\" .Id }}", fails);
    let fails = "template: :1:16: executing \"x\" at <.Nope>: map has no entry for key \"Nope\"";
    check("{{define \"x\"}}{{.Nope}}{{end}}{{template \"x\" .}}", fails);
    check("{{define \"x\"}}{{$y}}{{end}}", "template: :1: undefined variable \"$y\"");
    // One that calls itself, and a tree of calls, end.
    let endless =
        made(Template::of_rows("{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}"), &row());
    assert!(endless.contains("exceeded maximum template depth"), "{endless}");
    let mut tree = String::from("{{define \"0\"}}{{end}}");
    for level in 1..60 {
        let below = level - 1;
        tree.push_str(&format!(
            "{{{{define \"{level}\"}}}}{{{{template \"{below}\"}}}}{{{{template \"{below}\"}}}}{{{{end}}}}"
        ));
    }
    let tree = made(Template::of_rows(&(tree + "{{template \"59\"}}")), &row());
    assert!(tree.contains("exceeded maximum template depth"), "{tree}");
}

#[test]
fn what_is_no_template() {
    for (template, expect) in [
        ("{{.Id", "unclosed action"),
        ("{{.Id | foo}}", "function \"foo\" not defined"),
        ("{{if}}{{end}}", "missing value for if"),
        ("{{if .Id}}", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{.Id | \"x\"}}", "non executable command in pipeline stage 2"),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{.Id)}}", "unexpected right paren"),
        ("{{\"x}}", "unterminated quoted string"),
        ("{{`x}}", "unterminated raw quoted string"),
        ("{{@}}", "unexpected \"@\" in command"),
        ("{{\x01}}", "unrecognized character in action: U+0001"),
        ("{{1x}}", "bad number syntax: \"1x\""),
        ("{{/* x}}", "unclosed comment"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{}}", "missing value for command"),
        ("{{if 1}}{{define \"x\"}}{{end}}{{end}}", "unexpected {{define}}"),
        ("{{define x}}{{end}}", "unexpected \"x\" in define clause"),
        ("{{define \"x\"}}{{else}}{{end}}", "unexpected {{else}} in define clause"),
        ("{{range .}}{{define \"x\"}}", "unexpected {{define}}"),
    ] {
        check(template, &format!("template: :1: {expect}"));
    }
    check("a\nb{{foo}}", "template: :2: function \"foo\" not defined");
    let deep = format!("{}1{}", "{{(".to_owned() + &"(".repeat(5000), ")".repeat(5001) + "}}");
    check(&deep, "template: :1: more than 100 levels");
}

#[test]
fn what_a_document_lacks() {
    for (template, expect) in [
        ("{{.Foo}}", "1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        ("{{.State.Foo}}", "1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\""),
        ("{{.Id.X}}", "1:5: executing \"\" at <.Id.X>: can't evaluate field X in type interface {}"),
        (
            "{{.State.Health.X}}",
            "1:8: executing \"\" at <.State.Health.X>: nil pointer evaluating interface {}.X",
        ),
        ("{{json}}", "1:2: executing \"\" at <json>: wrong number of args for json: want 1 got 0"),
        ("{{upper 1}}", "1:8: executing \"\" at <1>: expected string; found 1"),
        (
            "x\n {{upper .State.Pid}}",
            "2:15: executing \"\" at <.State.Pid>: wrong type for value; expected string; got int",
        ),
        (
            "{{index .Config.Env 5}}",
            "1:2: executing \"\" at <index .Config.Env 5>: error calling index: index out of range: 5",
        ),
        ("{{range .Id}}{{end}}", "1:8: executing \"\" at <.Id>: range can't iterate over abc"),
        (
            "{{lt 1 \"x\"}}",
            "1:2: executing \"\" at <lt 1 \"x\">: error calling lt: incompatible types for comparison",
        ),
        ("{{\"x\" | .Id}}", "1:8: executing \"\" at <.Id>: Id is not a method but has arguments"),
        ("{{1 2}}", "1:2: executing \"\" at <1>: can't give argument to non-function 1"),
        ("{{nil}}", "1:2: executing \"\" at <nil>: nil is not a command"),
        (
            "{{printf \"%s %s\" .Config.Env .Config.Nope}}",
            "1:36: executing \"\" at <.Config.Nope>: map has no entry for key \"Nope\"",
        ),
    ] {
        check(template, &format!("template: :{expect}"));
    }
}

#[test]
fn output_is_bounded() {
    let nested = "{{range 100000}}{{range 100000}}x{{end}}{{end}}";
    assert!(made(Template::of_documents("", nested), &document()).contains("output of more than"), "steps");
    let wide = "{{range 10000}}{{pad \"x\" 100000 0}}{{end}}";
    assert!(made(Template::of_documents("", wide), &document()).contains("output of more than"), "bytes");
    let padded = "{{pad \"x\" 99999999999 0}}";
    assert!(made(Template::of_documents("", padded), &document()).contains("MiB of padding"), "one call");
}

#[test]
fn rows_and_their_heads() {
    let row = row();
    for (template, expect) in [
        ("{{.ID}} {{.Label \"com.x.my-key\"}}{{.Label \"none\"}}", "0123456789ab v"),
        ("{{json .}}", r#"{"ID":"0123456789ab","Names":"web","Tag":"\u003cnone\u003e"}"#),
        ("{{json .Tag}}", "\"<none>\""),
        (
            "{{.Foo}}",
            "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext",
        ),
        ("{{.ID.X}}", "template: :1:5: executing \"\" at <.ID.X>: can't evaluate field X in type string"),
        ("{{1 | .ID}}", "template: :1:6: executing \"\" at <.ID>: wrong number of args for ID: want 0 got 1"),
    ] {
        assert_eq!(made(Template::of_rows(template), &row), expect, "{template}");
    }
    let heads = Value::head(&[("ID", "CONTAINER ID"), ("Names", "NAMES")]);
    let head = |template: &str| Template::of_rows(template).expect("template").heads(&heads);
    assert_eq!(head("{{.ID}}\t{{lower .Names}}\t{{.Label \"com.x.my-key\"}}"), "CONTAINER ID\tNAMES\tmy key");
    assert_eq!(
        head("{{json .ID}} {{join (split .Names \",\") \"/\"}} {{.Foo}}"),
        "CONTAINER ID NAMES <no value>"
    );
    assert!(Template::of_rows("{{if .Size}}{{end}}").expect("template").mentions("Size"));
    assert!(Template::of_rows("{{json .}}").expect("template").mentions("Size"));
    assert!(!Template::of_rows("{{.ID}} Size").expect("template").mentions("Size"));
}

#[test]
fn a_terminal_obeys_no_data() {
    let json = serde_json::json!({ "Id": "a\u{1b}[31mb\nc" });
    let template = Template::of_documents("", "\u{1b}[1m{{.Id}}").expect("template");
    let shown = template.execute(&Value::document("", &json, true)).expect("executed");
    assert_eq!(shown, "\u{1b}[1ma\\u{1b}[31mb\nc", "what the user wrote is his, what the data say is not");
}

/// Whatever is typed is a template or is none, and never the end of the program.
#[test]
fn any_text_is_answered() {
    const PIECES: [&str; 48] = [
        "{{",
        "}}",
        "{{- ",
        " -}}",
        ".",
        ".Name",
        ".State.Pid",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        ",",
        "(",
        ")",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "break",
        "continue",
        "index ",
        "slice ",
        "printf ",
        "json ",
        "len ",
        "truncate ",
        "pad ",
        "split ",
        "join ",
        "eq ",
        "and ",
        "not ",
        "\"a%d%s%9.3f\"",
        "`b`",
        "'c'",
        "1",
        "-7",
        "2.5e3",
        "nil",
        " ",
        "é\n",
        "/* */",
        "define `b`",
        "template `b`",
        "block `b`",
        "}}{{",
    ];
    let (mut seed, document, mut good) = (0x9e37_79b9_7f4a_7c15_u64, document(), 0);
    for _ in 0..30_000 {
        let mut text = String::new();
        for _ in 0..=seed % 12 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            text.push_str(PIECES[(seed >> 32) as usize % PIECES.len()]);
        }
        for text in [format!("{{{{{text}}}}}"), text] {
            if let Ok(template) = Template::of_documents("", &text) {
                good += usize::from(template.execute(&document).is_ok());
                template.heads(&Value::head(&[("Name", "NAME")]));
            }
        }
    }
    assert!(good > 100, "only {good} were templates");
}

#[test]
fn names_do_not_speak_to_the_terminal() {
    assert_eq!(harmless("a\tb\nü\x1b]0;x\x07\u{9b}1m"), "a\tb\nü\\u{1b}]0;x\\u{7}\\u{9b}1m");
}
