"""Memory that processes share: the mean of all, the same bits for each, and who has ended is named."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from ppzoo import board as module
from ppzoo.board import Board
from ppzoo.errors import FitError, StorageError

pytestmark = pytest.mark.skipif(not Board.possible(), reason="this machine has no such memory")


@pytest.fixture
def boards(request, tmp_path, monkeypatch):
    """As many as there are processes, all in this one."""
    monkeypatch.setattr(module, "_PLACES", (str(tmp_path),))
    size, dtype = request.param
    path = Board.reserve(size, 5, dtype)
    made = [Board(path, rank, size, 5, dtype) for rank in range(size)]
    Path(path).unlink()  # the name is not needed any more
    return made


@pytest.mark.parametrize("boards", [(1, torch.float32), (2, torch.float64), (3, torch.float32)], indirect=True)
def test_all_find_the_same_mean(boards):
    dtype = boards[0]._mean.dtype
    given = torch.randn(len(boards), 40, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)

    def go(rank):
        return torch.stack([boards[rank].mean([row[:2], row[2:]]).clone() for row in given[rank]])

    with ThreadPoolExecutor(len(boards)) as pool:
        found = list(pool.map(go, range(len(boards))))
    torch.testing.assert_close(found[0], given.mean(0))
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize("boards", [(3, torch.float32)], indirect=True)
def test_who_has_left_is_named(boards, monkeypatch):
    monkeypatch.setattr(module, "_LOOK", 0.0)
    boards[2].leave()
    with pytest.raises(FitError, match=r"has ended; got process 2 of 3 \(this is 0\)\. Look at its own message"):
        boards[0].mean([torch.zeros(5)])


@pytest.mark.parametrize("boards", [(2, torch.float32)], indirect=True)
def test_who_was_killed_is_named(boards, monkeypatch):
    monkeypatch.setattr(module, "_LOOK", 0.0)
    other = subprocess.Popen([sys.executable, "-c", "pass"])
    other.wait()
    boards[1]._pid[1] = other.pid
    with pytest.raises(FitError, match="got process 1 of 2"):
        boards[0].mean([torch.zeros(5)])


@pytest.mark.parametrize("boards", [(2, torch.float32)], indirect=True)
def test_nobody_is_waited_for_for_ever(boards, monkeypatch):
    monkeypatch.setattr(module, "_LOOK", 0.0)
    monkeypatch.setattr(module, "_LIMIT", 0.0)
    with pytest.raises(FitError, match="has not come for 0 s; got process 1 of 2"):
        boards[0].mean([torch.zeros(5)])


def test_where_there_is_no_room_it_says_so(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_PLACES", (str(tmp_path / "absent"), str(tmp_path)))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"no room.*No such file.*No space left.*expected 0\.0161 MB"):
        Board.reserve(2, 1000, torch.float32)
    assert list(tmp_path.iterdir()) == []
