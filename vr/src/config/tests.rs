//! The language as a whole: nesting, printing, changes, and the text of every error.

use std::path::{Path, PathBuf};

use ipc::VrName;
use vr_api::config::Subscribe;

use super::change::change;
use super::check::{check_file, load};
use super::print::print;
use super::testing::{self, read, report, source, words};
use super::view::view;
use super::words::Words;

/// Reads a text that must be right, and prints it.
fn printed(text: &str) -> String {
    let words = words();
    match read(text, &words) {
        Ok(tree) => print(&tree),
        Err(errors) => panic!("{}", report(&errors)),
    }
}

fn refusal(text: &str) -> String {
    let words = words();
    report(&read(text, &words).expect_err("the text is wrong"))
}

#[test]
fn words_decide_nesting_and_indentation_does_not() {
    let flat = "vr red\ninterface Loopback0\nipv4 address 192.0.2.1/32\nrouter static\naddress-family ipv4 unicast\n\
                198.51.100.0/24 Null0\nvr blue\nconnect red blue\n";
    let pretty = "\
vr red
 interface Loopback0
  ipv4 address 192.0.2.1/32
 !
 router static
  address-family ipv4 unicast
   198.51.100.0/24 Null0
  !
 !
!
vr blue
!
connect red blue
";
    assert_eq!(printed(flat), pretty);
    assert_eq!(printed(pretty), pretty);
}

#[test]
fn a_mark_ends_the_blocks_of_its_column_and_further_right() {
    // Without the mark, `interface` would be one of the area's own.
    let text = "vr red\n interface Loopback0\n router ospf 1\n  area 0\n   interface Loopback0\n !\n interface Loopback0\n  mtu 1400\n";
    assert!(printed(text).contains(" interface Loopback0\n  mtu 1400\n"));
    // The area begins at the mark's own column, so it ends too.
    let area = "vr red\n interface Loopback0\n router ospf 1\n  area 0\n   interface Loopback0\n";
    let ended = printed(&format!("{area}  !\n  interface Loopback1\n"));
    assert!(ended.contains("\n interface Loopback1\n"), "{ended}");
    assert!(refusal(&format!("{area}   !\n  interface Loopback1\n")).contains("no interface Loopback1"), "of the area");
    // Right of all open blocks it is nothing, and so is one after the last block.
    let text = "vr red\n interface Loopback0\n     !\n  mtu 1400\n!\n!\n";
    assert_eq!(printed(text), "vr red\n interface Loopback0\n  mtu 1400\n !\n!\n");
}

#[test]
fn exit_and_end_policy_end_blocks_and_comments_do_not() {
    let text = "vr red\n route-policy PASS\n  pass\n end-policy\n interface Loopback0\n  exit\n exit\n! hello\n!hello\nvr blue\n";
    assert_eq!(
        printed(text),
        "vr red\n route-policy PASS\n  pass\n end-policy\n !\n interface Loopback0\n !\n!\nvr blue\n!\n"
    );
}

#[test]
fn a_block_that_is_opened_again_adds_to_what_is_there() {
    let text =
        "vr red\n interface Loopback0\n  mtu 1400\nvr blue\nvr red\n interface LOOPBACK0\n  shutdown\n  mtu 1400\n";
    assert_eq!(printed(text), "vr red\n interface Loopback0\n  mtu 1400\n  shutdown\n !\n!\nvr blue\n!\n");
}

#[test]
fn interfaces_take_any_case_and_get_their_canonical_name() {
    let text = "connect Red blue\nvr blue\n interface RED\nlinecard 0/00\n port 01\n  driver af-packet device veth0\n\
                vr Red\n assign port 0/0/1\n interface port0/0/1\n interface inter-vr blue\n";
    let printed = printed(text);
    for line in [" interface Red\n", " interface Port0/0/1\n", " interface blue\n", "linecard 0/0\n", " port 1\n"] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
}

#[test]
fn a_vr_named_like_an_interface_is_meant_by_the_long_form_only() {
    let text = "vr Loopback0\nvr red\n interface Loopback0\n  ipv4 address 192.0.2.1/32\n interface inter-vr Loopback0\n  \
                ipv4 address 10.0.0.0/31\n router ospf 1\n  area 0\n   interface inter-vr loopback0\nconnect red Loopback0\n";
    let printed_text = printed(text);
    assert!(printed_text.contains(" interface inter-vr Loopback0\n  ipv4 address 10.0.0.0/31\n"), "{printed_text}");
    assert_eq!(printed(&printed_text), printed_text);
    let words = words();
    let tree = read(text, &words).unwrap();
    let blocks = Subscribe { blocks: vec!["interface".into()] };
    let names: Vec<String> =
        view(&tree, Some(&VrName::new("red").unwrap()), &blocks).iter().map(|node| node.words[1].clone()).collect();
    assert_eq!(names, ["Loopback0", "inter-vr/Loopback0"]);
}

#[test]
fn relative_paths_count_from_the_file() {
    let text = "linecard 0/0\n port 0\n  driver cable local ./a.sock remote /tmp/b.sock\n";
    assert!(printed(text).contains("driver cable local /etc/isthmus/a.sock remote /tmp/b.sock"));
}

#[test]
fn a_subscriber_sees_the_blocks_of_its_vr_that_it_asked_for() {
    let words = words();
    let text =
        "vr red\n interface Loopback0\n router static\n router bgp 1\nvr blue\n router bgp 2\nconnect red blue\n";
    let tree = read(text, &words).unwrap();
    let lines = |vr: Option<&str>, blocks: &[&str]| -> Vec<String> {
        let blocks = Subscribe { blocks: blocks.iter().map(|block| block.to_string()).collect() };
        let vr = vr.map(|vr| VrName::new(vr).unwrap());
        view(&tree, vr.as_ref(), &blocks).iter().map(|node| node.line()).collect()
    };
    assert_eq!(lines(Some("red"), &["router bgp", "interface"]), ["interface Loopback0", "router bgp 1"]);
    assert_eq!(lines(Some("blue"), &["router"]), ["router bgp 2"]);
    assert_eq!(lines(None, &["vr", "connect"]), ["vr red", "vr blue", "connect red blue"]);
    assert_eq!(lines(Some("green"), &["router"]), [""; 0]);
}

const RUNNING: &str = "vr red\n interface blue\n  mtu 1400\n router bgp 64501\n  neighbor 10.0.0.1\n   remote-as 64502\n\
                       vr blue\nconnect red blue\n";

/// Applies lines to [`RUNNING`]; the lines that were taken away and added, or the refusal.
fn changed(lines: &[&str]) -> Result<String, String> {
    let words = words();
    let running = read(RUNNING, &words).unwrap();
    let lines: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
    let operator = super::parse::Source { file: "change".into(), ..source() };
    change(&running, &lines, &words, &operator).map(|tree| print(&tree)).map_err(|errors| report(&errors))
}

#[test]
fn a_change_adds_replaces_and_takes_away() {
    let before = printed(RUNNING);
    let shut = changed(&["vr red", "interface blue", "shutdown"]).unwrap();
    assert_eq!(shut, before.replace("  mtu 1400\n", "  mtu 1400\n  shutdown\n"));
    let replaced = changed(&["vr red", "interface blue", "mtu 9000", "vr blue", "interface red"]).unwrap();
    assert!(replaced.contains("  mtu 9000\n") && !replaced.contains("1400"), "{replaced}");
    let gone = changed(&["vr red", "no router bgp", "interface BLUE", "no mtu"]).unwrap();
    assert_eq!(gone, "vr red\n interface blue\n !\n!\nvr blue\n!\nconnect red blue\n");
    assert_eq!(changed(&["vr red", "interface blue", "no shutdown"]).unwrap(), before);
}

#[test]
fn a_change_is_refused_whole_with_the_line_that_is_wrong() {
    let refused = changed(&["vr red", "interface blue", "mtu 9000", "shutdwon"]).unwrap_err();
    assert_eq!(
        refused,
        "change:4:1: unknown word `shutdwon`; did you mean `shutdown`?\n 4 | shutdwon\n   | ^^^^^^^^\n\
         expected in `interface blue`: bandwidth, description, ipv4, ipv6, mtu, short-circuit, shutdown, !\n"
    );
    let refused = changed(&["vr red", "router bgp 1"]).unwrap_err();
    assert!(refused.starts_with("change:2:1: `router bgp 1` contradicts `router bgp 64501`"), "{refused}");
    let refused = changed(&["no connect red green"]).unwrap_err();
    assert!(refused.starts_with("change:1:4: there is no `connect red green` to take away"), "{refused}");
    let refused = changed(&["no vr"]).unwrap_err();
    assert!(refused.starts_with("change:1:4: `vr` stands for 2 lines; say which"), "{refused}");
}

#[test]
fn the_administrator_withdraws_a_connect_and_the_interface_lies_dormant() {
    let words = words();
    let running = read(RUNNING, &words).unwrap();
    let withdrawn = change(&running, &["no connect red blue".to_owned()], &words, &source()).unwrap();
    assert!(print(&withdrawn).contains("interface blue"));
    let other = change(
        &withdrawn,
        &["vr red".to_owned(), "interface blue".to_owned(), "shutdown".to_owned()],
        &words,
        &source(),
    );
    assert!(other.is_ok(), "a dormant interface can be configured");
    let new = change(&withdrawn, &["vr blue".to_owned(), "interface red".to_owned()], &words, &source());
    assert!(report(&new.unwrap_err()).contains("VR blue is not connected with VR red"));
    let vr = change(&withdrawn, &["no vr blue".to_owned()], &words, &source());
    assert!(report(&vr.unwrap_err()).contains("there is no VR `blue`"), "red still has an interface towards it");
}

#[test]
fn a_configuration_that_no_message_carries_is_refused() {
    let lines: String = (0..25_000).map(|i| format!("  10.{}.{}.0/24 Null0\n", i / 256, i % 256)).collect();
    let text = format!("vr red\n router static\n  address-family ipv4 unicast\n{lines}");
    let refused = refusal(&text);
    assert!(refused.starts_with("the configuration takes 1"), "{}", &refused[..100]);
    assert!(refused.ends_with("bytes in a message, which holds at most 1048576\n"), "{refused}");
}

#[test]
fn two_classes_cannot_own_one_block() {
    let error = Words::new(vec![testing::bgp(), testing::bgp()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "class bgp declares `router bgp <AS number, 1 to 4294967295>`, which class bgp declares already"
    );
}

#[test]
fn all_errors_of_a_file_are_found_and_the_inside_of_a_wrong_line_is_left_alone() {
    let text =
        "vr red\n interfce blue\n  ipv4 address 10.0.0.0/31\n !\n interface Loopback0\n  mtu 10\n  nonsense\n!\n";
    let report = refusal(text);
    let places: Vec<&str> =
        report.lines().filter(|line| line.starts_with("test.conf")).map(|line| &line[..14]).collect();
    assert_eq!(places, ["test.conf:2:2:", "test.conf:6:7:", "test.conf:7:3:"], "{report}");
}

/// Every file of `vr/tests/wrong` is a wrong configuration, and the text beside it is what `isthmus check` says.
/// `ISTHMUS_BLESS=1 cargo test -p isthmus-vr` writes the texts anew, to be reviewed.
#[test]
fn every_wrong_configuration_gets_the_error_that_is_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "the cases are there");
    let words = words();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&case).unwrap();
        let source = super::parse::Source { file: name.into(), folder: "/etc/isthmus".into() };
        let errors = match super::check::tree_of(&text, &words, &source) {
            Ok(tree) => super::check::sockets(&tree),
            Err(errors) => errors,
        };
        let found = report(&errors);
        let recorded = case.with_extension("txt");
        if std::env::var_os("ISTHMUS_BLESS").is_some() {
            std::fs::write(&recorded, &found).unwrap();
        }
        assert!(!errors.is_empty(), "{name} is accepted");
        assert_eq!(found, std::fs::read_to_string(&recorded).unwrap_or_default(), "{name}");
    }
}

#[test]
fn the_examples_are_right_and_say_what_they_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/examples");
    let declarations = [testing::rib(), testing::bgp(), testing::ospf()];
    for (file, summary) in [
        ("two-vrs.conf", "2 VRs (red: rib, bgp; blue: rib, bgp), 1 connection, no ports"),
        ("two-vrs-cable.conf", "2 VRs (red: rib, bgp; blue: rib, bgp), no connections, 2 ports"),
        ("neighbor-outside.conf", "2 VRs (red: rib, bgp; blue: rib, bgp), 1 connection, 1 port"),
    ] {
        // A copy beside a short path: the folder of a checkout may be too long for a socket.
        let place = tempfile::tempdir().unwrap();
        let copy = place.path().join(file);
        std::fs::copy(folder.join(file), &copy).unwrap();
        match check_file(&copy, &declarations) {
            Ok(found) => assert_eq!(found.to_string(), summary, "{file}"),
            Err(errors) => panic!("{}", report(&errors)),
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = tempfile::tempdir().unwrap();
    let words = words();
    let missing = place.path().join("missing.conf");
    let errors = load(&missing, &words).unwrap_err();
    assert_eq!(
        report(&errors),
        format!("{}: cannot be read: No such file or directory (os error 2)\n", missing.display())
    );
    let binary = place.path().join("binary.conf");
    std::fs::write(&binary, b"vr red\n\xff\xfe\n").unwrap();
    let errors = load(&binary, &words).unwrap_err();
    assert_eq!(report(&errors), format!("{}: line 2 is not UTF-8 text\n", binary.display()));
}

#[test]
fn a_socket_in_a_folder_that_is_missing_or_not_ours_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let words = words();
    let file = place.path().join("router.conf");
    for (path, reason) in [("missing/a.sock", "ENOENT"), ("router.conf/a.sock", "ENOTDIR")] {
        let text = format!("linecard 0/0\n port 0\n  driver cable local {path} remote b.sock\n");
        std::fs::write(&file, text).unwrap();
        let report = report(&load(&file, &words).unwrap_err());
        let expected = match reason {
            "ENOENT" => "No such file or directory (os error 2)",
            _ => "Not a directory (os error 20)",
        };
        let directory = place.path().join(path).parent().unwrap().display().to_string();
        assert!(report.contains(&format!("no socket can be made in {directory}: {expected}")), "{report}");
    }
}
