//! TCP: both sides at once, and ends after half an end.

use super::cases;
use crate::column::Vr;
use crate::host::{How, Until};
use crate::scene::Scene;

cases! { "TCP: both at once, and half closed":
    both_close_at_once,
    both_shut_down_at_once,
    a_listener_is_shut_down,
    a_half_close_and_then_a_reset,
    a_half_close_and_then_a_death,
    both_reset,
    an_end_wakes_who_waits_for_it_with_bytes_unread,
}

const AT: &str = "10.0.0.2:7000";

fn both_close_at_once(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    for _ in 0..5 {
        let client = red.connect(AT);
        let server = blue.accept(listener);
        red.close_with(client, &mut blue, server);
    }
    red.connect(AT);
    blue.accept(listener);
}

fn both_shut_down_at_once(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect(AT);
    let server = blue.accept(listener);
    red.shutdown_with(client, &mut blue, server);
    red.wait(client, Until::HungUp);
    blue.wait(server, Until::HungUp);
    red.receive(client, 100);
    blue.receive(server, 100);
}

fn a_listener_is_shut_down(scene: &Scene<'_>) {
    let mut blue = scene.process(Vr::Blue);
    let listener = blue.listen("0.0.0.0:7000");
    blue.shutdown(listener, How::Both);
}

fn a_half_close_and_then_a_reset(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect(AT);
    let server = blue.accept(listener);
    red.send(client, "question");
    red.shutdown(client, How::Write);
    blue.wait(server, Until::ReadClosed);
    blue.abort(server);
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
    red.receive(client, 100);
}

fn a_half_close_and_then_a_death(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect(AT);
    let server = blue.accept(listener);
    red.shutdown(client, How::Write);
    blue.wait(server, Until::ReadClosed);
    blue.send(server, "last words");
    blue.kill();
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
    red.receive(client, 100);
    red.receive(client, 100);
}

fn both_reset(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect(AT);
    let server = blue.accept(listener);
    red.abort(client);
    blue.abort(server);
    red.connect(AT);
    blue.accept(listener);
}

fn an_end_wakes_who_waits_for_it_with_bytes_unread(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect(AT);
    let server = blue.accept(listener);
    blue.send(server, "unread");
    red.wait(client, Until::Readable);
    red.wait_for(client, Until::ReadClosed, || {
        blue.wait_in_vain(server, Until::Readable);
        blue.shutdown(server, How::Write);
    });
    red.receive(client, 100);
    red.receive(client, 100);
}
