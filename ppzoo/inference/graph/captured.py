"""Work on a GPU as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["captured"]


def captured(function: Callable[[], None]) -> Callable[[], None]:
    """A function that changes tensors of a GPU in place, as one launch.

    It runs once before, for libraries to set themselves up.

    Raises:
        RuntimeError: If it waits for the device, and so cannot be captured.
    """
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        function()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph):
        function()
    return graph.replay
