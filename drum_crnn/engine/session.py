"""Computing activations of a recording on the CPU: spans of it in several threads, each with its own features."""

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

# ONNX Runtime reports its use to its maker, and gives each user a number for it, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph
from threadpoolctl import threadpool_limits

from drum_crnn.engine.graph import INPUT, network_graph
from drum_crnn.foundation.console import default_workers
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.activations import Activations
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.model.windows import cut_windows
from drum_crnn.music.log_mel import LogMel, Span
from drum_crnn.music.quantisation import rounded

__all__ = ["CpuEngine"]

_WINDOWS = 4  # to compute at a time: 16 s; more are no faster


class CpuEngine:
    """A model that runs on ONNX Runtime.

    Threads share a recording by spans of whole windows. Within a span one thread computes alone, since the many small
    steps of a GRU leave several threads waiting for each other. Results do not depend on the number of threads.

    Parameters
    ----------
    stored : StoredModel
    n_threads : int, optional
        By default, one for each core that the process may use, or OMP_NUM_THREADS if that is set.

    Raises
    ------
    DrumCrnnError
        If the weights do not fit the model's description.
    """

    def __init__(self, stored: StoredModel, *, n_threads: int | None = None) -> None:
        self.n_threads = n_threads or _usual_threads()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; what else is said is not for users
        try:
            graph = network_graph(stored)
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except (ValueError, IndexError, Fail, InvalidGraph) as error:
            why = str(error).splitlines()[0]
            raise DrumCrnnError(f"the model's weights do not fit its description ({why}); export it again") from None
        self._params, self._log_mel = stored.params, LogMel(stored.features)

    def activations(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Activations]:
        """Activations of a recording that arrives in blocks.

        Parameters
        ----------
        blocks : iterable of float32 arrays, shape (n_samples,)
            Mono, at the model's sample rate, of any length each.

        Yields
        ------
        Activations
            Of consecutive parts of the recording, which together hold every frame once.
        """
        margins = 2 * self._params.margin_frames
        inner = math.lcm(_WINDOWS * (self._params.window_frames - margins), self._log_mel.GROUP)
        spans = self._log_mel.spans(blocks, n_frames=inner + margins, overlap=margins)
        with ThreadPoolExecutor(self.n_threads) as pool, threadpool_limits(1, user_api="blas"):
            waiting: deque[Future[Activations]] = deque()
            try:
                for span in spans:
                    waiting.append(pool.submit(self._compute, span))
                    if len(waiting) > self.n_threads:  # one is read while the others are computed
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _compute(self, span: Span) -> Activations:
        # Rounded as in the feature store, so that the model gets the same frames as in training.
        features = self._log_mel.params
        frames = rounded(self._log_mel.frames(span), floor_db=features.floor_db)
        windows, keeps = zip(
            *cut_windows(
                [frames],
                self._params,
                n_mels=features.n_mels,
                floor_db=features.floor_db,
                is_first=span.is_first,
                is_last=span.is_last,
            ),
            strict=True,
        )
        parts = []
        for batch in range(0, len(windows), _WINDOWS):
            onset, velocity = self._session.run(None, {INPUT: np.stack(windows[batch : batch + _WINDOWS])})
            kept = zip(onset, velocity, keeps[batch : batch + _WINDOWS], strict=True)
            parts += [Activations(o[keep], v[keep]) for o, v, keep in kept]
        return Activations.concatenate(parts)


def _usual_threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else default_workers()
