use super::*;

fn forms() -> Vec<Form<&'static str>> {
    let vr =
        |required| Setting { word: "vr", value: Value::of("VR", ParameterType::VrName), required, help: "of a VR" };
    let number = ParameterType::Number { name: "number".into(), min: 1, max: 100 };
    let count = Setting { word: "count", value: Value::of("number", number), required: false, help: "how many" };
    vec![
        Form::new("show bgp", "paths", "paths").arguments("[PREFIX]").setting(vr(false)),
        Form::new("show bgp summary", "neighbors", "summary").setting(vr(false)),
        Form::new("show bgp sent", "told", "sent").setting(vr(false)),
        Form::new("show vr", "virtual routers", "vr").setting(vr(false)),
        Form::new("ping", "probe", "ping")
            .with(Slot::Value(Value::of("address", ParameterType::IpAddress)))
            .setting(vr(true))
            .setting(count),
        Form::new("configure", "change", "configure").with(Slot::Rest("line")),
        Form::new("shutdown-router", "stop", "stop").in_full(),
    ]
}

/// What a line is understood as: the action, its words, its settings.
fn understood(line: &str) -> String {
    let forms = forms();
    let parsed = parse(&forms, line).unwrap_or_else(|error| panic!("{error}"));
    let settings = parsed.settings.iter().map(|(word, value)| format!(" {word}={value}")).collect::<String>();
    format!("{}: {}{settings}", parsed.action, parsed.words.join(" "))
}

fn wrong(line: &str) -> String {
    parse(&forms(), line).expect_err("the line is wrong").to_string()
}

#[test]
fn keywords_may_be_abbreviated_while_that_is_unambiguous() {
    assert_eq!(understood("sh b su"), "summary: show bgp summary");
    assert_eq!(understood("sho bgp"), "paths: show bgp");
    assert!(wrong("show bgp s").starts_with("`s` may be summary or sent\n  show bgp s\n           ^"));
}

#[test]
fn a_word_that_cannot_be_undone_is_typed_in_full() {
    assert_eq!(understood("shutdown-router"), "stop: shutdown-router");
    assert!(wrong("shut").starts_with("unknown word `shut`"));
}

#[test]
fn settings_stand_anywhere_behind_the_keywords() {
    for line in ["ping vr red 192.0.2.2 count 2", "ping 192.0.2.2 count 2 vr red", "pi 192.0.2.2 c 2 v red"] {
        assert_eq!(understood(line), "ping: ping 192.0.2.2 count=2 vr=red");
    }
    assert_eq!(understood("show vr vr red"), "vr: show vr vr=red");
    assert_eq!(understood("show bgp vr red 10.0.0.0/8"), "paths: show bgp 10.0.0.0/8 vr=red");
}

#[test]
fn the_rest_of_a_line_is_kept_as_it_is() {
    assert_eq!(understood("conf vr red;  interface blue"), "configure: configure vr red;  interface blue");
}

#[test]
fn a_wrong_word_is_pointed_at_with_what_is_accepted() {
    assert_eq!(
        wrong("show bgp sumary"),
        "unknown word `sumary`; did you mean `summary`?\n  show bgp sumary\n           ^^^^^^\nexpected: <prefix>, sent, summary, vr"
    );
    assert_eq!(wrong("ping vr red 192.0.2.2 count 0").lines().next(), Some("`0` is no number"));
    assert_eq!(wrong("show bgp summary vr red x").lines().next(), Some("nothing may follow here, found `x`"));
}

#[test]
fn a_line_that_ends_too_early_says_what_is_missing() {
    assert_eq!(
        wrong("ping 192.0.2.2"),
        "the line is not complete\n  ping 192.0.2.2\n                 ^\nexpected: count, vr"
    );
    assert!(wrong("ping 192.0.2.2 vr").ends_with("expected: <VR>"));
}

#[test]
fn help_lists_what_may_follow_and_whether_the_line_may_end() {
    let forms = forms();
    let texts = |line: &str| {
        let (candidates, may_end) = candidates(&forms, line).unwrap();
        (candidates.into_iter().map(|candidate| candidate.text).collect::<Vec<_>>().join(" "), may_end)
    };
    assert_eq!(texts("sh"), ("show shutdown-router".to_owned(), false));
    assert_eq!(texts("show bgp "), ("<prefix> vr summary sent".to_owned(), true));
    assert_eq!(texts("show bgp s"), ("summary sent".to_owned(), false));
    assert_eq!(texts("show bgp 1"), ("<prefix>".to_owned(), false));
    assert_eq!(texts("ping vr "), ("<VR>".to_owned(), false));
}

#[test]
fn a_form_shows_how_it_is_typed() {
    let synopses: Vec<String> = forms().iter().map(Form::synopsis).collect();
    assert_eq!(synopses[0], "show bgp [<prefix>] [vr <VR>]");
    assert_eq!(synopses[4], "ping <address> vr <VR> [count <number>]");
}
