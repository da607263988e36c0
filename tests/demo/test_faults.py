"""The grammar of faults, every refusal by its words, and which orders of faults make sense."""

import pytest

from xds_server.demo.faults import Fault, FaultError, Kind, ends, parse, parse_now, script


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kill:us-east-1@10", Fault(Kind.KILL, "us-east-1", 10.0)),
        ("blackhole:controlplane@0", Fault(Kind.BLACKHOLE, "controlplane", 0.0)),
        ("errors:0.4:eu-west-1@2.5", Fault(Kind.ERRORS, "eu-west-1", 2.5, 0.4)),
        ("slow:300:sa-east-1@1", Fault(Kind.SLOW, "sa-east-1", 1.0, 300.0)),
        ("unhealthy:ap-southeast-1@3", Fault(Kind.UNHEALTHY, "ap-southeast-1", 3.0)),
        ("cut:us-east-1:eu-west-1@4", Fault(Kind.CUT, "eu-west-1", 4.0, "us-east-1")),
        ("restore:controlplane@9", Fault(Kind.RESTORE, "controlplane", 9.0)),
    ],
)
def test_a_fault_is_read_and_printed_back(text: str, fault: Fault) -> None:
    assert parse(text) == fault
    assert f"{fault}@{fault.at_s:g}" == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kill:us-east-1", "no @SECONDS"),
        ("kill:us-east-1@soon", "'soon' is not a number of seconds"),
        ("kill:us-east-1@-1", "0 or more"),
        ("kill:us-east-1@nan", "0 or more"),
        ("kill@3", "'' is not a target"),
        ("kill:mars@3", "'mars' is not a target"),
        ("melt:us-east-1@3", "no fault is called 'melt'"),
        ("kill:0.4:us-east-1@3", "kill takes no argument"),
        ("errors:us-east-1@3", "errors needs one argument"),
        ("errors:much:us-east-1@3", "'much' is not a number"),
        ("errors:1.5:us-east-1@3", "1.5 is out of range"),
        ("errors:nan:us-east-1@3", "nan is out of range"),
        ("slow:0:us-east-1@3", "0 is out of range"),
        ("slow:20000:us-east-1@3", "below the route's timeout"),
        ("slow:1:2:us-east-1@3", "slow needs one argument"),
        ("cut:us-east-1@3", "cut needs another region"),
        ("cut:mars:us-east-1@3", "cut needs another region"),
        ("cut:us-east-1:us-east-1@3", "cut needs another region"),
        ("slow:300:controlplane@3", "killed, black-holed and restored, nothing else"),
    ],
)
def test_a_bad_fault_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(FaultError, match=words):
        parse(text)


def test_a_fault_for_now_has_no_time_in_its_text() -> None:
    assert parse_now("kill:us-east-1", 7.0) == Fault(Kind.KILL, "us-east-1", 7.0)


def test_a_script_is_put_in_the_order_of_time() -> None:
    faults = script(["restore:us-east-1@20", "kill:us-east-1@10"], 30.0)
    assert [str(fault) for fault in faults] == ["kill:us-east-1", "restore:us-east-1"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["kill:us-east-1@30"], "the run ends after 30 s"),
        (["kill:us-east-1@1", "slow:300:us-east-1@2"], r"does not run \(last fault: kill\); restore:us-east-1 first"),
        (["kill:us-east-1@1", "kill:us-east-1@2"], "does not run"),
        (["blackhole:controlplane@1", "blackhole:controlplane@2"], "does not run"),
    ],
)
def test_a_script_that_cannot_be_carried_out_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(FaultError, match=words):
        script(texts, 30.0)


def test_a_hung_region_may_be_killed_and_a_slow_one_made_to_fail() -> None:
    texts = ["blackhole:us-east-1@1", "kill:us-east-1@2", "slow:300:eu-west-1@1", "errors:0.5:eu-west-1@2"]
    assert len(script(texts, 30.0)) == 4


def test_a_fault_ends_with_the_next_restore_of_its_target() -> None:
    faults = script(["kill:us-east-1@5", "restore:eu-west-1@6", "restore:us-east-1@7", "restore:us-east-1@9"], 30.0)
    assert ends(faults[0], faults) == 7.0
    assert ends(parse("kill:sa-east-1@1"), faults) is None
    assert ends(faults[2], faults) is None


def test_which_faults_are_expected_to_move_traffic() -> None:
    moving = {"kill", "blackhole", "unhealthy", "cut:eu-west-1"}
    texts = ["kill", "blackhole", "unhealthy", "cut:eu-west-1", "errors:0.4", "slow:300", "restore"]
    assert {t for t in texts if parse(f"{t}:us-east-1@1").moves_traffic} == moving
    assert not parse("kill:controlplane@1").moves_traffic
