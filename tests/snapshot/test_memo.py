"""What a memo makes again, and what it forgets."""

from __future__ import annotations

from xds_server.snapshot.memo import Memo


class Kitchen:
    """A dish of two pieces; writes down what is made."""

    def __init__(self) -> None:
        self.memo = Memo()
        self.made: list[str] = []

    def round(self, *dishes: tuple[str, int, int]) -> list[str]:
        """Ask for dishes, each a name and what its two pieces are made from; return what was made for that."""
        self.memo.next_round()
        self.made = []
        for dish in dishes:
            assert self.memo.get(("dish", dish[0]), dish, lambda d=dish: self._dish(*d)) == dish[1:]  # type: ignore[misc]
        return self.made

    def _dish(self, name: str, rice: int, beans: int) -> tuple[int, int]:
        self.made.append(name)
        return self._piece(f"{name}'s rice", rice), self._piece(f"{name}'s beans", beans)

    def _piece(self, name: str, of: int) -> int:
        def make() -> int:
            self.made.append(name)
            return of

        return self.memo.get(name, of, make)


def test_of_a_part_that_changes_after_quiet_rounds_only_the_piece_that_changed_is_made() -> None:
    kitchen = Kitchen()
    assert kitchen.round(("a", 1, 1), ("b", 1, 1)) == ["a", "a's rice", "a's beans", "b", "b's rice", "b's beans"]
    assert kitchen.round(("a", 1, 2), ("b", 1, 1)) == ["a", "a's beans"]
    assert kitchen.round(("a", 1, 2), ("b", 1, 1)) == []
    assert kitchen.round(("a", 1, 2), ("b", 3, 1)) == ["b", "b's rice"]


def test_what_a_round_did_not_ask_for_is_forgotten_with_its_pieces() -> None:
    kitchen = Kitchen()
    kitchen.round(("a", 1, 1), ("b", 1, 1))
    kitchen.round(("a", 1, 1))
    kitchen.round(("a", 1, 1))
    assert set(kitchen.memo._before) | set(kitchen.memo._now) == {("dish", "a"), "a's rice", "a's beans"}
    assert kitchen.round(("b", 1, 1)) == ["b", "b's rice", "b's beans"]


def test_a_piece_that_another_part_made_anew_is_not_taken_for_the_old_one() -> None:
    """Two parts share a name for a piece but not what it is made from: each gets its own."""
    memo = Memo()

    def whole(name: str, of: int) -> int:
        return memo.get(name, of, lambda: memo.get("shared", of, lambda: of))

    for values in ((1, 2), (1, 2), (1, 3), (1, 3), (4, 3), (4, 4)):
        memo.next_round()
        assert tuple(whole(*pair) for pair in zip("ab", values, strict=True)) == values
