"""Work on torch's own threads."""

import threading

import pytest
import torch

from perdure.ops import threads

PARTS = [(i, i + 1, 0, 1) for i in range(5)]


@pytest.mark.skipif(threads.LIBRARY is None, reason="this build of torch has no GOMP_parallel")
def test_every_part_is_worked_on_once_by_several_threads():
    done = []
    meeting = threading.Barrier(2, timeout=20)

    def work(i, part):
        meeting.wait()  # passes only if two threads are here at the same time
        done.append((i, part, threading.get_ident()))

    threads.share(work, PARTS[:2])
    assert sorted(done)[0][:2] == (0, PARTS[0])
    assert len({thread for *_, thread in done}) == 2
    seen = []
    threads.share(lambda i, part: seen.append(i), PARTS)
    assert sorted(seen) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("library", [True, False], ids=["team", "pool"])
def test_errors_come_back(library, monkeypatch):
    if not library:
        monkeypatch.setattr(threads, "LIBRARY", None)

    def work(i, part):
        if i == 1:
            raise ValueError("second part")

    with pytest.raises(ValueError, match="second part"):
        threads.share(work, PARTS[:2])
    threads.share(lambda i, part: None, PARTS[:2])


def test_within_another_team_and_in_other_threads():
    seen = []

    def work(i, part):
        threads.share(lambda j, inner: seen.append((i, j)), PARTS[:2])

    threads.share(work, PARTS[:2])
    assert sorted(seen) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    thread = threading.Thread(target=lambda: threads.share(work, PARTS[:2]))
    thread.start()
    thread.join()
    assert len(seen) == 8


def test_products_inside_are_right():
    a, b = torch.randn(2, 300, 300, generator=torch.Generator().manual_seed(0))
    found = [torch.zeros(()), torch.zeros(())]

    def work(i, part):
        with torch.no_grad():
            found[i] = a @ b

    threads.share(work, PARTS[:2])
    torch.testing.assert_close(found[0], a @ b)
    torch.testing.assert_close(found[1], a @ b)
    assert torch.get_num_threads() == 2
    assert threads.spans(4, 1, 1.0) == [(0, 2, 0, 1), (2, 4, 0, 1)]
