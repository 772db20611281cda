"""Dots of the bf16 profile: rows are packed as bfloat16, then multiplied block by block, by AMX tiles or by the same sums in fma.

One `tdpbf16ps` is, per output, two fma chains from zero over the even and the odd k of 32, then acc + (even + odd): the contract's block.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import tirx as t

from mlcc.arithmetic.bf16 import BLOCK
from mlcc.arithmetic.scalar import BRAIN
from mlcc.machine import Machine
from mlcc.program.kernel import BlockDot
from mlcc.program.packing import PANEL
from mlcc.schedule.block import CHUNK_PAIRS, SWEEP_PAIRS, block_chunks, block_rows
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, affine, int32
from mlcc.tir.kernels import body as bodies
from mlcc.tir.kernels.map import split_index

TILE = 16  # rows of an AMX tile
PAIR = 2 * PANEL  # columns worked on at once
DEPTH = 3072  # k packed at a time: what a task may take of its thread's stack
HEAVY = 10


def emit(spec: BlockDot, machine: Machine) -> Any:
    return _Emitter(spec, machine).emit()


class _Emitter:
    """Writes one kernel; `rows` at a time, packed `depth` deep."""

    def __init__(self, spec: BlockDot, machine: Machine) -> None:
        self.spec, self.machine = spec, machine
        self.f = Function(spec)
        self.rows = block_rows(machine)
        self.half = spec.arguments[spec.a.arg] == "uint16"
        self.count, self.k = prod(spec.rows), prod(spec.k)
        self.blocks = -(-self.k // BLOCK)
        self.depth = min(self.blocks * BLOCK, DEPTH)
        self.pitch = self.depth + (BLOCK if self.depth % 512 == 0 else 0)  # not a multiple of what caches alias
        self.packed = self.f.local("uint16" if machine.amx else "float32", self.rows * self.pitch)
        self.width = min(PAIR * SWEEP_PAIRS, -(-spec.columns // PAIR) * PAIR)  # of the scratch array of sums
        self.scratch = self.f.local("float32", self.rows * self.width)

    def emit(self) -> Any:
        f, spec = self.f, self.spec
        if self.machine.amx:
            self._configure()
        row_blocks, chunks = -(-self.count // self.rows), block_chunks(spec)
        with f.loop(f.begin, t.Sub(f.end, f.begin)) as task:
            chunk, block = split_index(f, task, (chunks, row_blocks))
            first = f.index(t.Mul(block, int32(self.rows)))
            rest = self.count % self.rows
            if rest == 0 or row_blocks == 1:
                self._rows(chunk, first, rest or self.rows)
            else:
                with f.when(t.LT(block, int32(row_blocks - 1))):
                    self._rows(chunk, first, self.rows)
                with f.when(t.EQ(block, int32(row_blocks - 1))):
                    self._rows(chunk, first, rest)
        if self.machine.amx:
            self._amx("tilerelease")
        return f.finish()

    def _rows(self, chunk: Expr, first: Expr, rows: int) -> None:
        """All columns of a chunk for some rows, a sweep at a time: sums first, then the body over long rows."""
        f = self.f
        once = self.blocks * BLOCK <= DEPTH
        if once:
            self._pack(first, rows, 0)
        sweeps = -(-self.spec.columns // self.width)
        per_chunk = CHUNK_PAIRS // SWEEP_PAIRS
        start = f.index(t.Mul(chunk, int32(per_chunk)))
        extent: Any = sweeps if block_chunks(self.spec) == 1 else f.index(t.Min(int32(per_chunk), t.Sub(int32(sweeps), start)))
        with f.loop(0, extent) as i:
            sweep = f.index(t.Add(start, i))
            rest = self.spec.columns % self.width
            if rest == 0 or sweeps == 1:
                self._sweep(first, rows, sweep, rest or self.width, once)
            else:
                with f.when(t.LT(sweep, int32(sweeps - 1))):
                    self._sweep(first, rows, sweep, self.width, once)
                with f.when(t.EQ(sweep, int32(sweeps - 1))):
                    self._sweep(first, rows, sweep, rest, once)

    def _sweep(self, first: Expr, rows: int, sweep: Expr, valid: int, once: bool) -> None:
        f, (pairs, rest) = self.f, divmod(valid, PAIR)
        start = f.index(t.Mul(sweep, int32(self.width // PAIR)))
        with f.loop(0, pairs) as i:
            self._columns(first, rows, f.index(t.Add(start, i)), f.index(t.Mul(i, int32(PAIR))), 2, once)
        if rest:
            self._columns(first, rows, f.index(t.Add(start, int32(pairs))), int32(pairs * PAIR), -(-rest // PANEL), once)
        self._finish(first, rows, f.index(t.Mul(sweep, int32(self.width))), valid)

    def _columns(self, first: Expr, rows: int, pair: Expr, place: Expr, panels: int, once: bool) -> None:
        """The sums of a pair of panels, to `place` in the scratch array's rows."""
        multiply = self._tiles if self.machine.amx else self._vectors
        if once:
            multiply(rows, pair, place, panels, 0, self.blocks, True, True)
            return
        step = DEPTH // BLOCK
        for at in range(0, self.blocks, step):
            count = min(step, self.blocks - at)
            self._pack(first, rows, at)
            multiply(rows, pair, place, panels, at, count, at == 0, at + count == self.blocks)

    # packing

    def _pack(self, first: Expr, rows: int, block: int) -> None:
        """Rows of a as bfloat16 from block `block` on, zeros after the last k."""
        f, spec = self.f, self.spec
        n = len(spec.rows)
        start, stop = block * BLOCK, min(self.k, block * BLOCK + self.depth)
        outer, inner = spec.k[:-1], spec.k[-1]
        tail = -(-stop // BLOCK) * BLOCK - stop
        with f.loop(0, rows) as r:
            point = split_index(f, f.index(t.Add(first, r)), spec.rows)
            base = f.index(affine(point, spec.a.strides[:n], spec.a.offset))
            to = f.index(t.Mul(r, int32(self.pitch)))
            if tail:
                one = Arithmetic(f, 1, self.machine)
                with f.loop(0, tail) as i:
                    f.store(self.packed, t.Add(t.Add(to, int32(stop - start)), i), one.const(0, self.packed.dtype))
            if start == 0 and stop == self.k:
                self._runs(base, to, outer, inner, [])
                return
            for position in range(prod(outer)):
                low, high = position * inner, (position + 1) * inner
                if high <= start or low >= stop:
                    continue
                at = [position // prod(outer[i + 1 :]) % m for i, m in enumerate(outer)]
                offset = sum(a * s for a, s in zip(at, spec.a.strides[n:-1]))
                skip, end = max(start - low, 0), min(stop, high) - low
                source = f.index(t.Add(base, int32(offset + skip * spec.a.strides[-1])))
                self._run(source, f.index(t.Add(to, int32(low + skip - start))), end - skip)

    def _runs(self, base: Expr, to: Expr, outer: tuple[int, ...], inner: int, indices: list[Expr]) -> None:
        """All of k, dimension by dimension."""
        f, n = self.f, len(self.spec.rows)
        if len(indices) == len(outer):
            source = f.index(t.Add(base, affine(indices, self.spec.a.strides[n:-1])))
            place = f.index(t.Add(to, affine(indices, [prod(self.spec.k[i + 1 :]) for i in range(len(outer))])))
            self._run(source, place, inner)
            return
        with f.loop(0, outer[len(indices)]) as i:
            self._runs(base, to, outer, inner, [*indices, i])

    def _run(self, source: Expr, to: Expr, count: int) -> None:
        """`count` elements at the last dimension's stride."""
        f, stride = self.f, self.spec.a.strides[-1]
        widest = 32 if self.half and self.machine.amx else 16
        widths = (widest, *(w for w in (16, 8, 4) if w < widest), 1) if self.machine.vector_bits > 32 else (1,)
        for a, k in bodies.strips(f, self.machine, count, widths):
            x = f.load(f.buffers[self.spec.a.arg], t.Add(source, t.Mul(k, int32(stride))), a.lanes, stride)
            f.store(self.packed, t.Add(to, k), self._element(a, f.let(x, a.v("uint16" if self.half else "float32"))), a.lanes)

    def _element(self, a: Arithmetic, x: Expr) -> Expr:
        """An element as packed: bfloat16 bits for tiles, the same as a binary32 number for fma. Rounded already where it lies as bits."""
        bits = x if self.half else self.f.let(a.run(BRAIN, x), a.v("uint16"))
        if self.machine.amx:
            return bits
        return a.reinterpret("float32", t.LShift(a.cast("uint32", bits), a.const(16, "uint32")))

    # tiles

    def _amx(self, name: str, *arguments: Expr) -> None:
        self.f.emit(t.Evaluate(t.call_llvm_intrin("int32", f"llvm.x86.{name}", *arguments)))

    def _configure(self) -> None:
        """Palette 1, eight tiles of 16 rows and 64 bytes."""
        config = self.f.local("uint8", 64)
        for i in range(64):
            value = 1 if i == 0 else 64 if 16 <= i < 32 and i % 2 == 0 else 16 if 48 <= i < 56 else 0
            self.f.store(config, i, t.IntImm("uint8", value))
        self._amx("ldtilecfg", _address(config, int32(0)))

    def _tiles(self, rows: int, pair: Expr, place: Expr, panels: int, at: int, count: int, fresh: bool, last: bool) -> None:
        """Tiles 0 to 3 accumulate (row half, panel), 4 and 5 hold rows, 6 and 7 panels."""
        f = self.f
        halves = -(-rows // TILE)
        used = [(h, p) for h in range(halves) for p in range(panels)]
        if fresh:
            for h, p in used:
                self._amx("tilezero", _tile(2 * h + p))
        words = self.blocks * 16 * PANEL  # of a panel
        b = f.index(t.Add(t.Mul(pair, int32(2 * words)), int32(at * 16 * PANEL)))
        with f.loop(0, count) as i:
            a_at, b_at = f.index(t.Mul(i, int32(BLOCK))), f.index(t.Add(b, t.Mul(i, int32(16 * PANEL))))
            for p in range(panels):
                address = _address(f.buffers[self.spec.b], t.Add(b_at, int32(p * words)))
                self._amx("tileloadd64", _tile(6 + p), address, t.IntImm("int64", 64))
            for h in range(halves):
                address = _address(self.packed, t.Add(a_at, int32(h * TILE * self.pitch)))
                self._amx("tileloadd64", _tile(4 + h), address, t.IntImm("int64", 2 * self.pitch))
                for p in range(panels):
                    self._amx("tdpbf16ps", _tile(2 * h + p), _tile(4 + h), _tile(6 + p))
        if last:
            for h, p in used:
                address = _address(self.scratch, t.Add(place, int32(h * TILE * self.width + p * PANEL)))
                self._amx("tilestored64", _tile(2 * h + p), address, t.IntImm("int64", 4 * self.width))

    # vectors

    def _vectors(self, rows: int, pair: Expr, place: Expr, panels: int, at: int, count: int, fresh: bool, last: bool) -> None:
        """The same with fma: a few rows of one panel, sums of all blocks in the scratch array."""
        f, few = self.f, 4 if self.machine.registers >= 32 and self.machine.vector_bits >= 256 else 2
        lanes = PANEL if self.machine.vector_bits > 32 else 1
        a = Arithmetic(f, lanes, self.machine)
        words = self.blocks * 16 * PANEL
        for p in range(panels):
            b = f.index(t.Add(t.Mul(t.Add(t.Mul(pair, int32(2)), int32(p)), int32(words)), int32(at * 16 * PANEL)))
            for r in range(0, rows, few):
                together = min(few, rows - r)
                with f.loop(0, PANEL // lanes) as column:
                    places = [t.Add(t.Add(place, int32((r + j) * self.width + p * PANEL)), column) for j in range(together)]
                    acc = f.local(a.v("float32"), together)
                    for j in range(together):
                        f.store(acc, j, a.const(0, "float32") if fresh else f.load(self.scratch, places[j], lanes))
                    with f.loop(0, count) as i:
                        self._block(a, acc, r, together, i, f.index(t.Add(t.Add(b, t.Mul(i, int32(16 * PANEL))), column)))
                    for j in range(together):
                        f.store(self.scratch, places[j], f.load(acc, j), lanes)

    def _block(self, a: Arithmetic, acc: Any, r: int, together: int, block: Expr, b: Expr) -> None:
        """acc + (even + odd) for 32 steps of k."""
        f = self.f
        sums = f.local(a.v("float32"), 2 * together)
        for j in range(2 * together):
            f.store(sums, j, a.const(0, "float32"))
        start = f.index(t.Mul(block, int32(BLOCK)))
        with f.loop(0, 16) as k:
            bits = f.let(f.load(f.buffers[self.spec.b], t.Add(b, t.Mul(k, int32(PANEL))), a.lanes), a.v("uint32"))
            even = f.let(a.reinterpret("float32", t.LShift(bits, a.const(16, "uint32"))), a.v("float32"))
            odd = f.let(a.reinterpret("float32", t.BitwiseAnd(bits, a.const(0xFFFF0000, "uint32"))), a.v("float32"))
            for j in range(together):
                at = t.Add(t.Add(start, t.Mul(k, int32(2))), int32((r + j) * self.pitch))
                for odd_one, weight in enumerate((even, odd)):
                    x = a.wide(f.let(f.load(self.packed, t.Add(at, int32(odd_one))), "float32"))
                    f.store(sums, 2 * j + odd_one, a.fma("float32", x, weight, f.load(sums, 2 * j + odd_one)))
        for j in range(together):
            f.store(acc, j, t.Add(f.load(acc, j), t.Add(f.load(sums, 2 * j), f.load(sums, 2 * j + 1))))

    # results

    def _finish(self, first: Expr, rows: int, column: Expr, valid: int) -> None:
        """The body, the store. The sums need no + 0: they begin at +0 and add, which never makes a −0."""
        f, spec, machine = self.f, self.spec, self.machine
        heavy = bodies.weight(spec.body) > HEAVY
        most = machine.lanes(heavy) if bodies.vectorisable(spec.body) else 1
        widths = (most, *(w for w in (8, 4, 1) if w < most))

        def point(r: Expr) -> list[Expr]:
            return split_index(f, f.index(t.Add(first, r)), spec.rows)

        scratch = (self.scratch, self.width, "float32")
        bodies.sweep(f, machine, spec.body, spec.output, scratch, rows, point, column, valid, widths)


def _tile(number: int) -> Expr:
    return t.IntImm("uint8", number)


def _address(buffer: Any, index: Expr) -> Expr:
    return t.call_intrin("handle", "tirx.address_of", t.BufferLoad(buffer, [index]))
