"""The address book: what DNS failures, omissions and odd spellings do to the addresses in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.decision.addresses import KEEP_ROUNDS, MAX_ADDRESSES, AddressBook
from xds_server.model import Address, Endpoint, Resolution

PAY = Endpoint("pay.example", 8080)


def answer(*ips: str, host: str = PAY.host) -> Resolution:
    return Resolution(host, ips, at=0.0, error="" if ips else "name or service not known")


def book(*resolutions: Resolution) -> AddressBook:
    learnt = AddressBook()
    for resolution in resolutions:
        learnt = learnt.learn(resolution)
    return learnt


def ips(of: AddressBook) -> list[str]:
    return [address.ip for address in of.of(PAY)]


def test_addresses_carry_the_port_and_come_in_numeric_order_v4_first() -> None:
    assert book(answer("2001:db8::1", "10.0.0.10", "10.0.0.9")).of(PAY) == (
        Address("10.0.0.9", 8080),
        Address("10.0.0.10", 8080),
        Address("2001:db8::1", 8080),
    )


def test_a_name_never_resolved_has_no_address_and_is_failed_only_after_a_failure() -> None:
    fresh = AddressBook()
    assert (fresh.of(PAY), fresh.failed(PAY)) == ((), False)
    failed = fresh.learn(answer())
    assert (failed.of(PAY), failed.failed(PAY)) == ((), True)
    assert not failed.learn(answer("10.0.0.1")).failed(PAY)


def test_failures_keep_the_last_good_addresses_for_ever() -> None:
    good = book(answer("10.0.0.1"))
    assert book(answer("10.0.0.1"), *[answer()] * 100) == good
    assert not good.learn(answer()).failed(PAY)


def test_an_address_stays_through_omissions_and_goes_after_several_in_a_row() -> None:
    learnt = book(answer("10.0.0.1", "10.0.0.2"))
    for _ in range(KEEP_ROUNDS - 1):
        learnt = learnt.learn(answer("10.0.0.1"))
        assert ips(learnt) == ["10.0.0.1", "10.0.0.2"]
    assert ips(learnt.learn(answer("10.0.0.1"))) == ["10.0.0.1"]


def test_an_address_that_comes_back_starts_anew() -> None:
    omitted = [answer("10.0.0.1")] * (KEEP_ROUNDS - 1)
    both = answer("10.0.0.1", "10.0.0.2")
    assert ips(book(both, *omitted, both, *omitted)) == ["10.0.0.1", "10.0.0.2"]


def test_a_failure_between_omissions_is_no_omission() -> None:
    assert ips(book(answer("10.0.0.1", "10.0.0.2"), answer("10.0.0.1"), *[answer()] * 9, answer("10.0.0.1"))) == [
        "10.0.0.1",
        "10.0.0.2",
    ]


@pytest.mark.parametrize(
    ("host", "ip"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::0:1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_an_ip_is_its_own_answer_in_canonical_text(host: str, ip: str) -> None:
    endpoint = Endpoint(host, 443)
    assert AddressBook().literal(endpoint)
    assert AddressBook().of(endpoint) == (Address(ip, 443),)


def test_a_host_name_is_no_literal() -> None:
    assert not AddressBook().literal(PAY)


def test_mapped_and_plain_spellings_are_one_address() -> None:
    assert ips(book(answer("::ffff:10.0.0.1", "10.0.0.1"))) == ["10.0.0.1"]


def test_a_name_has_a_bounded_number_of_addresses() -> None:
    many = [f"10.0.{n // 250}.{n % 250}" for n in range(2 * MAX_ADDRESSES)]
    assert len(ips(book(answer(*many)))) == MAX_ADDRESSES


def test_what_is_known_survives_a_restart_and_news_wins() -> None:
    saved = book(answer("10.0.0.1"), answer("10.0.1.1", host="cart.example")).known()
    assert saved == {"cart.example": ("10.0.1.1",), "pay.example": ("10.0.0.1",)}
    fresh = book(answer("10.0.0.2"), answer(host="cart.example")).restored(saved)
    assert ips(fresh) == ["10.0.0.2"]
    assert fresh.of(Endpoint("cart.example", 1)) == (Address("10.0.1.1", 1),)
    assert not fresh.failed(Endpoint("cart.example", 1))


def test_names_that_left_the_policy_are_forgotten() -> None:
    learnt = book(answer("10.0.0.1"), answer(host="gone.example"))
    assert learnt.only(frozenset({PAY.host})).known() == {PAY.host: ("10.0.0.1",)}
    assert not learnt.only(frozenset({PAY.host})).failed(Endpoint("gone.example", 1))
    assert learnt.only(frozenset({PAY.host, "gone.example"})) is learnt


SOME_IPS = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"]), max_size=4)


@given(st.lists(SOME_IPS, max_size=12))
def test_the_book_holds_what_some_recent_good_answer_held(rounds: list[list[str]]) -> None:
    learnt = book(*(answer(*found) for found in rounds))
    good = [set(found) for found in rounds if found]
    assert set(ips(learnt)) == set().union(*good[-KEEP_ROUNDS:])


@given(st.lists(SOME_IPS, max_size=6), SOME_IPS)
def test_order_within_an_answer_does_not_matter_and_nothing_new_is_the_same_book(
    rounds: list[list[str]], last: list[str]
) -> None:
    learnt = book(*(answer(*found) for found in rounds))
    assert learnt.learn(answer(*last)) == learnt.learn(answer(*reversed(last)))
    settled = book(*[answer(*last)] * KEEP_ROUNDS)
    assert settled.learn(answer(*last)) is settled


def test_what_was_remembered_stands_until_the_first_answer() -> None:
    name = Endpoint("shop.example", 80)
    book = AddressBook().restored({"shop.example": ("10.0.0.1", "10.0.0.2")})
    assert len(book.of(name)) == 2
    failed = book.learn(Resolution("shop.example", (), 1.0, "no answer"))
    assert failed.of(name) == book.of(name)
    assert [a.ip for a in failed.learn(Resolution("shop.example", ("10.0.0.2",), 2.0)).of(name)] == ["10.0.0.2"]
