"""Text to nodes: what no text file in testdata/ can hold, and every limit at its edge."""

from __future__ import annotations

import pytest

from xds_server.policy import nodes
from xds_server.policy.errors import PolicyError
from xds_server.policy.nodes import ListNode, MapNode, ScalarNode, compose
from xds_server.policy.parse import parse


def refusal(text: str | bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        compose(text, "x")
    return str(caught.value)


def test_nodes_know_where_they_stand() -> None:
    root, problems = compose("é: [1,\n  'two']", "x")
    items: list[nodes.Node] = [ScalarNode("1", plain=True, line=1, column=5), ScalarNode("two", False, 2, 3)]
    assert root == MapNode([ScalarNode("é", plain=True, line=1, column=1), ListNode(items, 1, 4)], 1, 1)
    assert problems == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: 1\nb: \xff", "x:2:4: policy: the byte 0xff is not UTF-8; save the file as UTF-8"),
        ("é: 1".encode("latin-1"), "x:1:1: policy: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("version: 1".encode("utf-16"), "x:1:1: policy: the byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: \udc80", "x:1:4: policy: the text cannot be written as UTF-8; remove the surrogate character"),
        ("é: é\nb: \x07", "x:2:4: policy: the character U+0007 is not allowed in YAML; remove it"),
        ("a: é\x00", "x:1:5: policy: the character U+0000 is not allowed in YAML; remove it"),
    ],
)
def test_bytes_and_characters_that_are_no_text_are_refused_with_their_place(text: str | bytes, message: str) -> None:
    assert refusal(text) == message


def test_a_text_that_is_too_large_is_refused() -> None:
    filler = "a: 1 #" + "é" * ((nodes.MAX_BYTES - 6) // 2)
    assert len(filler.encode()) == nodes.MAX_BYTES
    assert compose(filler, "x")[0] is not None
    message = "x:1:1: policy: the text has 8,388,609 bytes; a policy may have 8,388,608 (8 MiB)"
    assert refusal(filler + "#") == message
    assert refusal((filler + "#").encode()) == message


def test_nesting_that_is_too_deep_is_refused_before_it_is_followed() -> None:
    deepest = "[" * nodes.MAX_DEPTH
    assert compose(deepest + "]" * nodes.MAX_DEPTH, "x")[0] is not None
    message = f"x:1:{nodes.MAX_DEPTH + 1}: policy: nested more than 32 levels deep; a policy needs 7"
    assert refusal(deepest + "[") == message
    assert refusal("[" * 1_000_000) == message
    assert "nested more than" in refusal("- " * 1_000_000)
    assert "nested more than" in refusal("{a: " * 1_000_000)


def bomb(levels: int) -> str:
    lines = ["l0: &l0 [" + ",".join("x" * 10) + "]"]
    lines += [f"l{i}: &l{i} [" + ",".join([f"*l{i - 1}"] * 10) + "]" for i in range(1, levels)]
    return "\n".join(lines)


def test_aliases_that_multiply_are_refused_before_they_are_expanded() -> None:
    assert compose(bomb(4), "x")[0] is not None
    assert refusal(bomb(6)).endswith(
        "more than 1,000,000 values (what an alias names counts each time); split the policy"
    )
    assert "more than 1,000,000 values" in refusal(bomb(500))


def test_values_are_counted_as_written_too() -> None:
    assert "more than 1,000,000 values" in refusal("[" + "a," * 1_000_000 + "]")


def test_an_anchor_used_again_means_the_last_one() -> None:
    root, _ = compose("[&a 1, *a, &a 2, *a]", "x")
    assert isinstance(root, ListNode)
    assert [node.text for node in root.items if isinstance(node, ScalarNode)] == ["1", "1", "2", "2"]


def test_a_cycle_through_an_anchor_used_again() -> None:
    assert "stands inside what it names" in refusal("&a [&a [*a]]")


def test_a_bomb_where_a_policy_has_its_endpoints() -> None:
    endpoints = ", ".join(f"h{i}:1" for i in range(1_000))
    text = "version: 1\nregions: {a: {}}\nservices:\n"
    text += f"  s0: &s {{deployments: {{a: {{endpoints: [{endpoints}], capacity: 1}}}}}}\n"
    text += "".join(f"  s{i}: *s\n" for i in range(1, 2_000))
    with pytest.raises(PolicyError, match=r"more than 1,000,000 values"):
        parse(text, "x")
