"""A flat graph of torch operations as machine code for many chains.

A Pyro program's log density and gradient for one chain, traced, is a graph of fifty to a few thousand operations on
tensors of a few elements. Called one by one they cost microseconds each, whatever the size. Here the graph becomes one
C program, compiled by the system's compiler in a fraction of a second and called without the interpreter's lock. Chains
are the lanes of the machine's vectors, as in Pharr and Mark, ispc: A SPMD compiler for high-performance CPU programming
(2012, https://doi.org/10.1109/InPar.2012.6339601): every element of a per-chain tensor is a vector with one entry per
chain, so that no operation, however small, leaves the vector units idle, and no shape has to divide by anything.

``lowering`` walks the graph; ``pointwise``, ``arithmetic``, ``reductions``, ``shaping``, ``indexing``, ``linear`` and
``factors`` say what each operation is in terms of ``values``, which ``builder`` numbers; ``schedule`` fuses loops and
places buffers; ``emit`` and ``program`` write the C text on top of the headers beside them; ``build`` compiles it;
``call`` and ``loop`` run it. Every lane computes what it would compute alone, to the last bit: neither the number of
lanes nor that of threads changes a chain.

Shapes: ``C`` chains, ``W`` lanes. Where something has no native code, ``Unsupported`` is raised, and the caller takes
another road.
"""

from ppzoo.inference.native.build import available
from ppzoo.inference.native.call import NativeMap, compile_map
from ppzoo.inference.native.loop import NativeLoop, compile_loop
from ppzoo.inference.native.values import Unsupported

__all__ = ["NativeLoop", "NativeMap", "Unsupported", "available", "compile_loop", "compile_map"]
