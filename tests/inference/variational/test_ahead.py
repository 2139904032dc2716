"""Reading ahead changes nothing but the time: what is read, what goes wrong, and who is left when it ends."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch

from ppzoo.inference.variational.ahead import Ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ppzoo-rows")]


def reading(*sequences, each=4, start=0, count=10, seed=0, threaded=True):
    end = start + count
    return Ahead([iter(s) for s in sequences], each=each, start=start, end=end, seed=seed, threaded=threaded)


@pytest.mark.parametrize("threaded", [True, False])
def test_entries_come_in_order(threaded):
    with reading(itertools.count(), itertools.count(100), threaded=threaded) as ahead:
        for begin in (0, 4, 8):  # one sequence after the other, a portion at a time
            places = range(begin, min(begin + 4, 10))
            assert [ahead.at(place, 0) for place in places] == list(places)
            assert [ahead.at(place, 1) for place in places] == [100 + place for place in places]
        with pytest.raises(IndexError, match="entry 3 has gone by"):
            ahead.at(3, 0)
    assert threads() == []


def test_places_begin_where_they_are_said_to():
    with reading(itertools.count(30), start=30) as ahead:
        assert [ahead.at(place, 0) for place in range(30, 40)] == list(range(30, 40))


def test_the_next_portion_is_read_while_this_one_is_used():
    read = threading.Event()

    def sequence():
        yield from range(4)
        read.set()
        yield from range(4, 8)

    with reading(sequence(), count=8) as ahead:
        assert ahead.at(0, 0) == 0
        assert read.wait(30)
        assert ahead.at(7, 0) == 7


@pytest.mark.parametrize("threaded", [True, False])
def test_no_more_is_read_than_will_be_asked_for(threaded):
    entries = itertools.count()
    with reading(entries, count=10, threaded=threaded) as ahead:
        assert ahead.at(9, 0) == 9
    assert next(entries) == 10


@pytest.mark.parametrize("threaded", [True, False])
def test_errors_come_where_the_portion_is_asked_for(threaded):
    def sequence():
        yield from range(4)
        raise OSError("the disk has gone")

    with reading(sequence(), threaded=threaded) as ahead:
        assert ahead.at(3, 0) == 3
        with pytest.raises(OSError, match="the disk has gone"):
            ahead.at(4, 0)
    assert threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_no_thread_is_left_behind(error):
    def interrupted():
        with reading(itertools.count()) as ahead:
            assert ahead.at(0, 0) == 0
            assert len(threads()) == 1
            raise error

    with pytest.raises(error):
        interrupted()
    assert threads() == []


def test_draws_while_reading_are_the_sequences_own():
    def noise():
        while True:
            yield float(torch.rand(()))

    before = torch.get_rng_state()
    found = []
    for _ in range(2):
        with reading(noise(), threaded=False) as ahead:
            found.append([ahead.at(place, 0) for place in range(10)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 10
    assert torch.equal(torch.get_rng_state(), before)
