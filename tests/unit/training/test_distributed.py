"""What the errors of an exchange between ranks mean to people."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist

from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.training import distributed
from drum_crnn.training.distributed import LostContact, World, lost_rank_as_error

LOST = [
    RuntimeError("[/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:42614"),
    RuntimeError("Timed out waiting 900000ms for recv operation to complete"),
    RuntimeError("NCCL communicator was aborted on rank 0."),
    dist.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:94, remote process exited or there was a network error"),
    dist.DistNetworkError("failed to recv, got 0 bytes"),
    dist.DistStoreError("wait timeout after 900000ms"),
]


@pytest.mark.parametrize("error", LOST, ids=str)
def test_a_lost_rank_is_told_in_a_sentence(error: RuntimeError) -> None:
    with (
        pytest.raises(LostContact, match="lost contact with another rank, which has died or hangs; run the same"),
        lost_rank_as_error(),
    ):
        raise error


def test_a_lack_of_shared_memory_is_told() -> None:
    with (
        pytest.raises(DrumCrnnError, match=r"no room to exchange data in /dev/shm; in a container.*--shm-size=1g"),
        lost_rank_as_error(),
    ):
        raise dist.DistBackendError("NCCL error: unhandled system error, No space left on device")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: the launch timed out and was terminated"),
        RuntimeError("shape '[2, 3]' is invalid for input of size 5"),
        RuntimeError(""),
    ],
    ids=str,
)
def test_other_errors_stay_what_they_are(error: RuntimeError) -> None:
    with pytest.raises(RuntimeError) as caught, lost_rank_as_error():
        raise error
    assert caught.value is error


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> dist.HashStore:
    """The launcher's store, for ranks that are threads."""
    store = dist.HashStore()
    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([(store, 0, 0)]))
    return store


def meet(ranks: list[World]) -> list[Future[dist.Store]]:
    with ThreadPoolExecutor() as pool:
        return [pool.submit(distributed._meet, rank, StopRequest()) for rank in ranks]


def test_ranks_meet_whoever_was_there_before(meeting: dist.HashStore) -> None:
    """A launcher that restarts ranks hands them the store of those that are gone."""
    for rank in range(3):
        meeting.set(f"here/{rank}", f"dead-{rank}")
    stores = [found.result() for found in meet([World(rank, rank, 3, torch.device("cpu")) for rank in range(3)])]
    stores[0].set("word", "ours")
    assert [store.get("word") for store in stores] == [b"ours"] * 3


def test_ranks_with_and_without_a_gpu_do_not_start(meeting: dist.HashStore) -> None:
    found = meet([World(0, 0, 2, torch.device("cuda", 0)), World(1, 0, 2, torch.device("cpu"))])
    for rank in found:
        with pytest.raises(DrumCrnnError, match="rank 0 has a GPU, but rank 1 has none that PyTorch can use; look at"):
            rank.result()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_waits_for_another_can_be_stopped(meeting: dist.HashStore, rank: int) -> None:
    stop = StopRequest()
    stop.cause = "by SIGTERM"
    with pytest.raises(Interrupted, match="stopped by SIGTERM before the training began; run the same command again"):
        distributed._meet(World(rank, rank, 2, torch.device("cpu")), stop)
