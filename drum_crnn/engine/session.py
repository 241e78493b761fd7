"""Computing activations of a recording on the CPU: spans of it in several threads, each with its own features."""

import itertools
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

# ONNX Runtime reports its use to its maker, and gives each user a number for it, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph
from threadpoolctl import threadpool_limits

from drum_crnn.engine.convolutions import FRAMES_AFTER, FRAMES_BEFORE, Precision
from drum_crnn.engine.graph import INPUT, convolution_graph, misfit_error, recurrent_graph
from drum_crnn.foundation.console import default_workers
from drum_crnn.model.activations import Activations
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.model.windows import cut_windows
from drum_crnn.music.log_mel import LogMel, Span
from drum_crnn.music.quantisation import rounded

__all__ = ["CpuEngine", "open_session"]

FloatArray = NDArray[np.float32]

_WINDOWS = 4  # to compute at a time: 16 s; more are no faster
_CHUNK = 128  # frames that go through the convolutions at a time; what they make of more leaves the cache


class CpuEngine:
    """A model that runs on ONNX Runtime.

    Threads share a recording by spans of whole windows. Within a span one thread computes alone, since the many small
    steps of a GRU leave several threads waiting for each other. Results do not depend on the number of threads.

    Windows overlap. The convolutions compute what two windows share once, but for the frames at a window's edges, where
    the padding of convolutions begins.

    Parameters
    ----------
    stored : StoredModel
    n_threads : int, optional
        By default, one for each core that the process may use, or OMP_NUM_THREADS if that is set.
    precision : {"int8", "float32"}
        Of the convolutions. In eight bits, activations of the released model differ by 0.0002 on average, and F by less
        than 0.001 (docs/performance.md).

    Raises
    ------
    DrumCrnnError
        If the weights do not fit the model's description.
    """

    def __init__(self, stored: StoredModel, *, n_threads: int | None = None, precision: Precision = "int8") -> None:
        self.n_threads = n_threads or _usual_threads()
        self._convolutions = open_session(convolution_graph(stored, precision=precision))
        self._recurrence = open_session(recurrent_graph(stored))
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
                for part in itertools.chain.from_iterable(map(self._parts, spans)):
                    waiting.append(pool.submit(self._compute, *part))
                    if len(waiting) > self.n_threads:  # one is read while the others are computed
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _parts(self, span: Span) -> Iterator[tuple[Span, int]]:
        """A span, or two that share the windows of the last one, so that no thread is idle at the end.

        With each comes the number of its first frames that belong to no window of it: spans begin at whole groups.
        """
        margins = 2 * self._params.margin_frames
        hop = self._params.window_frames - margins
        n_windows = math.ceil((span.n_frames - margins) / hop)
        if not span.is_last or n_windows < 2:
            yield span, 0
            return
        n_first = n_windows // 2 * hop
        n_before = n_first % self._log_mel.GROUP
        yield span._replace(n_frames=n_first + margins, is_last=False), 0
        start = n_first - n_before
        rest = span.samples[start * self._log_mel.params.hop_length :]
        yield Span(rest, span.n_frames - start, is_first=False, is_last=True), n_before

    def _compute(self, span: Span, n_before: int) -> Activations:
        # Rounded as in the feature store, so that the model gets the same frames as in training.
        features = self._log_mel.params
        frames = rounded(self._log_mel.frames(span)[n_before:], floor_db=features.floor_db)
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
        projected = self._projected(frames, windows)
        parts = []
        for batch in range(0, len(windows), _WINDOWS):
            onset, velocity = self._recurrence.run(None, {INPUT: projected[batch : batch + _WINDOWS]})
            kept = zip(onset, velocity, keeps[batch : batch + _WINDOWS], strict=True)
            parts += [Activations(o[keep], v[keep]) for o, v, keep in kept]
        return Activations.concatenate(parts)

    def _projected(self, frames: FloatArray, windows: Sequence[FloatArray]) -> FloatArray:
        """What the convolutions make of windows that were cut from frames: (windows, frames, projection)."""
        size = self._params.window_frames
        hop = size - 2 * self._params.margin_frames
        n_frames = hop * (len(windows) - 1) + size
        whole = np.concatenate([frames, windows[-1][size - (n_frames - len(frames)) :]])  # the last window is padded
        chunks = []
        for start in range(0, n_frames, _CHUNK):
            first = max(0, start - FRAMES_BEFORE)
            found = self._convolved(whole[None, first : start + _CHUNK + FRAMES_AFTER])
            chunks.append(found[0, start - first :][:_CHUNK])
        projected = sliding_window_view(np.concatenate(chunks), size, axis=0)[::hop].transpose(0, 2, 1).copy()
        if len(windows) > 1:
            reach = FRAMES_BEFORE + FRAMES_AFTER
            starts, ends = [window[:reach] for window in windows[1:]], [window[-reach:] for window in windows[:-1]]
            edges = self._convolved(np.stack(starts + ends))
            projected[1:, :FRAMES_BEFORE] = edges[: len(starts), :FRAMES_BEFORE]
            projected[:-1, -FRAMES_AFTER:] = edges[len(starts) :, -FRAMES_AFTER:]
        return projected

    def _convolved(self, windows: FloatArray) -> FloatArray:
        [found] = self._convolutions.run(None, {INPUT: windows})
        return np.asarray(found)


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime with this graph, on one thread; raises DrumCrnnError if its shapes contradict each other."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; what else is said is not for users
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except (ValueError, IndexError, Fail, InvalidGraph) as error:
        raise misfit_error(error) from None


def _usual_threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else default_workers()
