"""Stages that prepare sound: spectra, mel bands, cepstra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcc.error import Error
from mlcc.importers.nodes import Nodes

LOGS = ("none", "ln", "log10", "db")


@dataclass(frozen=True)
class Spectrogram:
    """Short-time Fourier transforms of one channel: windows (Hann's, periodic) of `n_fft` samples, `hop` apart, as power (2) or magnitude
    (1); frames of frequencies, [1, frames, n_fft / 2 + 1]. centred: the first window's middle is the first sample, the signal mirrored at
    its ends (as librosa and torchaudio). shape: of the sound that comes in."""

    n_fft: int = 512
    hop: int = 160
    window: int = 0
    power: float = 2.0
    centred: bool = False
    log: str = "none"
    floor: float = 1e-10
    shape: tuple[object, ...] = (1, "samples")
    outputs = {"features": "float32"}

    def __post_init__(self) -> None:
        if not self.hop > 0 or not 2 <= self.n_fft <= 1 << 16 or self.window > self.n_fft:
            raise Error("usage", "n_fft, hop and window must be lengths, a window no longer than n_fft")
        if self.log not in LOGS or self.power not in (1.0, 2.0):
            raise Error("usage", "log or power", hint=f"log: one of {', '.join(LOGS)}; power: 1 or 2")

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        return {"audio": ("float32", self.shape)}

    def write(self, w: Nodes, audio: str) -> list[str]:
        return [self.logarithm(w, self.spectrum(w, audio))]

    def spectrum(self, w: Nodes, audio: str) -> str:
        """A convolution with the windowed waves of all frequencies."""
        length, bins = self.window or self.n_fft, self.n_fft // 2 + 1
        window = np.zeros(self.n_fft)
        before = (self.n_fft - length) // 2
        window[before : before + length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        turns = np.arange(bins)[:, None] * np.arange(self.n_fft) % self.n_fft / self.n_fft  # exact: sines of whole turns are none
        waves = np.concatenate([np.cos(2 * np.pi * turns) * window, -np.sin(2 * np.pi * turns) * window])
        x = w.op("Unsqueeze", audio, w.integers(1))
        if self.centred:
            side = self.n_fft // 2
            x = w.op("Pad", x, w.integers(0, 0, side, 0, 0, side), mode="reflect")
        both = w.op("Conv", x, w.constant(waves[:, None], "float32"), strides=[self.hop])
        real, imaginary = w.slice(both, 1, 0, bins), w.slice(both, 1, bins, 2 * bins)
        power = w.op("Add", w.op("Mul", real, real), w.op("Mul", imaginary, imaginary))
        return w.transpose(power if self.power == 2 else w.op("Sqrt", power), [0, 2, 1])

    def logarithm(self, w: Nodes, x: str) -> str:
        if self.log == "none":
            return x
        found = w.op("Log", w.op("Max", x, w.constant(self.floor, "float32")))
        factor = {"ln": 1.0, "log10": 1 / np.log(10), "db": 10 / np.log(10)}[self.log]
        return found if factor == 1 else w.op("Mul", found, w.constant(factor, "float32"))


@dataclass(frozen=True)
class MelSpectrogram(Spectrogram):
    """Power or magnitude in triangular bands, evenly apart on the mel scale: "htk" (2595 log10(1 + f / 700)) or "slaney" (linear to 1 kHz,
    then logarithmic); [1, frames, mels]. area: each band divided by its width, as librosa. coefficients: as many of the bands' cosine
    transform (DCT-II, orthonormal) instead: cepstra."""

    sample_rate: int = 16000
    mels: int = 40
    low: float = 0.0
    high: float = 0.0
    scale: str = "htk"
    area: bool = False
    coefficients: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale not in ("htk", "slaney"):
            raise Error("usage", f"scale {self.scale}", hint="htk or slaney")
        if not 0 <= self.low < (self.high or self.sample_rate / 2) <= self.sample_rate / 2 or not self.mels:
            raise Error("usage", "bands from low to high, within half the sample rate, and at least one")
        if self.coefficients > self.mels:
            raise Error("usage", "more coefficients than mels")

    def write(self, w: Nodes, audio: str) -> list[str]:
        bands = w.op("MatMul", self.spectrum(w, audio), w.constant(self.bands(), "float32"))
        found = self.logarithm(w, bands)
        if self.coefficients:
            at = np.pi / self.mels * (np.arange(self.mels)[:, None] + 0.5) * np.arange(self.coefficients)
            waves = np.cos(at) * np.sqrt(2 / self.mels)
            waves[:, 0] /= np.sqrt(2)
            found = w.op("MatMul", found, w.constant(waves, "float32"))
        return [found]

    def bands(self) -> np.ndarray:
        """[frequencies, mels]."""
        ends = self.mel(np.array([self.low, self.high or self.sample_rate / 2]))
        edges = self.hertz(np.linspace(ends[0], ends[1], self.mels + 2))
        f = np.arange(self.n_fft // 2 + 1)[:, None] * self.sample_rate / self.n_fft
        rising, falling = (f - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - f) / np.diff(edges)[1:]
        found = np.maximum(0, np.minimum(rising, falling))
        return found * (2 / (edges[2:] - edges[:-2])) if self.area else found

    def mel(self, f: np.ndarray) -> np.ndarray:
        if self.scale == "htk":
            return 2595 * np.log10(1 + f / 700)
        return np.where(f < 1000, f * 3 / 200, 15 + np.log(np.maximum(f, 1000) / 1000) * 27 / np.log(6.4))

    def hertz(self, m: np.ndarray) -> np.ndarray:
        if self.scale == "htk":
            return 700 * (10 ** (m / 2595) - 1)
        return np.where(m < 15, m * 200 / 3, 1000 * np.exp(np.maximum(m - 15, 0) * np.log(6.4) / 27))
