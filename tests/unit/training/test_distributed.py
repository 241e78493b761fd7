"""What the errors of an exchange between ranks mean to people."""

import pytest
import torch.distributed as dist

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.training.distributed import LostContact, lost_rank_as_error

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
