"""Which silent workers are lost, without a clock or a worker."""

from __future__ import annotations

import pytest

from blockwise.executor.ondask.silence import Sign, Silence

COMPUTES = [Sign(second, False, False) for second in range(99)]
STOPPED, READS, HANGS = Sign(3.0, True, False), Sign(3.0, False, True), Sign(3.0, False, False)


def watched(signs: list[Sign | None], seconds: int, step_s: float = 1.0) -> tuple[Silence, dict[str, float]]:
    """A worker that fell silent at once, and was asked for with these answers; the last of them holds on."""
    silence, lost = Silence(30.0), {}
    silence.note(0.0, {"a": 7.0})
    for second in range(1, seconds + 1):
        silence.note(second * step_s, {"a": 7.0})
        for address in silence.to_ask():
            if signs:
                silence.answered(address, signs[0] if len(signs) == 1 else signs.pop(0))
        lost |= silence.lost()
    return silence, lost


@pytest.mark.parametrize("sign", [STOPPED, HANGS, None])
def test_a_worker_that_does_nothing_is_lost_in_time(sign):
    """Whether it is stopped, hangs, or its nanny is as silent."""
    assert not watched([sign], 29)[1]
    silence, lost = watched([sign], 200)
    assert lost == {"a": 30.0}
    assert not silence.is_there("a")


@pytest.mark.parametrize("signs", [COMPUTES, [READS]])
def test_a_worker_that_is_busy_is_not_lost(signs):
    """It computes, or waits for the disk."""
    silence, lost = watched(list(signs), 300)
    assert not lost
    assert silence.is_there("a")


def test_a_worker_that_nobody_can_ask_after_is_given_more_time():
    """There may be no nanny."""
    assert not watched([], 119)[1]
    assert watched([], 120)[1] == {"a": 120.0}


def test_a_word_from_a_worker_ends_its_silence():
    """Also if it comes just in time."""
    silence, _ = watched([STOPPED], 29)
    assert not silence.is_there("a")
    silence.note(30.0, {"a": 8.0})
    assert silence.is_there("a")
    assert not silence.lost()
    assert not silence.to_ask()


def test_a_driver_that_was_stopped_itself_blames_no_worker():
    """An hour between two looks counts as a moment."""
    silence, lost = watched([STOPPED], 4, step_s=3600.0)
    assert not lost
    assert silence.is_there("a")


def test_workers_that_are_gone_are_forgotten():
    """A new one with the address of an old one is another."""
    silence, _ = watched([STOPPED], 20)
    silence.note(21.0, {})
    silence.note(22.0, {"a": 7.0})
    assert silence.is_there("a")
    assert not silence.to_ask()
