"""MLPerf Tiny on emulated microcontrollers: flash, RAM and instructions, beside the peers' → docs/embedded.md.

    python -m benchmarks.tiny [FOLDER with the models, default ../shared/models/mlperf-tiny]

onnx2c's and emx-onnx-cgen's figures: head of 2026 and 1.4.0, arm-none-eabi-gcc 12 -O3, counted under QEMU; LiteRT Micro's: its own
recording allocator, activations alone. They were measured once on this project's machines and are quoted.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import mlcc

CORES = (
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4",
    "cortex-m4f",
    "cortex-m7",
    "cortex-m33",
    "cortex-m55",
    "rv32imc",
    "rv32imafc",
    "rv32imafc_zve32f",
    "rv64imac",
)
# file: (title, multiply-adds in millions, onnx2c's instructions, flash and RAM, emx-onnx-cgen's instructions, LiteRT Micro's activations)
MODELS = {
    "kws_ref_model_float32": ("keyword spotting, float32", 2.7, 25.2, 39400, 224000, 24.1, None),
    "ad01_fp32": ("anomaly detection, float32", 0.26, 3.7, 1064872, 3072, 4.0, 3072),
    "pretrainedResnet": ("image classification, float32", 12.5, 139.7, 318860, 196608, 94.6, 196608),
    "vww_96_float": ("visual wake words, float32", 7.5, 65.1, 856204, 294912, 76.4, 294912),
    "kws_ref_model": ("keyword spotting, int8", 2.7, 35.6, 42124, 270040, 45.0, 16000),
    "ad01_int8": ("anomaly detection, int8", 0.26, 7.1, 275224, 1066528, 8.1, 768),
    "pretrainedResnet_quant": ("image classification, int8", 12.5, 178.2, 100644, 798056, 154.8, 49152),
    "vww_96_int8": ("visual wake words, int8", 7.5, 83.5, 265732, 1658856, 133.1, 73728),
}
HEAD = """# Microcontrollers: MLPerf Tiny

Written by `python -m benchmarks.tiny`, not by hand. Each model runs its golden vectors on an emulated board (QEMU); its output bits equal those of the
x86-64 build. Instructions are those of one inference, counted by the emulator's clock (exact to the clock's tick: 40 instructions at most). Flash is code and
weights of the model, with the soft-float routines that it needs; RAM is the arena, without the caller's inputs and outputs.

"""


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "shared" / "models" / "mlperf-tiny"
    with tempfile.TemporaryDirectory() as d:
        results = {name: mlcc.build(folder / f"{name}.onnx", target=[*CORES, "native"], out=d) for name in MODELS}
    text = HEAD + beside_peers(results) + every_core(results)
    (Path(__file__).resolve().parents[1] / "docs" / "embedded.md").write_text(text)


def artifact(result: dict[str, Any], target: str) -> dict[str, Any]:
    found: dict[str, Any] = next(a for a in result["artifacts"] if a["target"] == target)
    assert found["conformance"] == "passed", (result["model"], target)
    return found


def beside_peers(results: dict[str, Any]) -> str:
    """Cortex-M4F, one row a model."""
    rows = ["## Cortex-M4F, beside the peers\n"]
    rows += [
        "| model | multiply-adds | mlcc: instructions | a multiply-add | flash | RAM | onnx2c: instructions | flash | RAM | "
        "emx-onnx-cgen: instructions | LiteRT Micro: RAM |"
    ]
    rows += ["|---|---|---|---|---|---|---|---|---|---|---|"]
    for name, (title, macs, insn, flash, ram, emx, arena) in MODELS.items():
        a = artifact(results[name], "cortex-m4f")
        mine = a["instructions"] / 1e6
        rows.append(
            f"| {title} | {macs} M | {mine:.2f} M | {mine / macs:.2f} | {a['flash_bytes']:,} | {a['arena_bytes']:,} | {insn} M "
            f"({insn / mine:.1f}×) | {flash:,} | {ram:,} "
            f"| {emx} M ({emx / mine:.1f}×) | {f'{arena:,}' if arena else 'does not load'} |"
        )
    return "\n".join(rows) + "\n\n"


def every_core(results: dict[str, Any]) -> str:
    """Millions of instructions and flash, one row a core."""
    rows = []
    for what, show in (
        ("instructions, millions", lambda a: f"{a['instructions'] / 1e6:.2f}"),
        ("flash, bytes", lambda a: f"{a['flash_bytes']:,}"),
    ):
        rows += [
            f"## Every core: {what}\n",
            "| core | " + " | ".join(t for t, *_ in MODELS.values()) + " |",
            "|---|" + "---|" * len(MODELS),
        ]
        rows += [f"| {c} | " + " | ".join(show(artifact(results[m], c)) for m in MODELS) + " |" for c in CORES]
        rows.append("")
    digests = {m: r["output_digest"][:12] for m, r in results.items()}
    return (
        "\n".join(rows)
        + "\nOutputs' digests, the same on all of them: "
        + ", ".join(f"{MODELS[m][0]} {d}" for m, d in digests.items())
        + ".\n"
    )


if __name__ == "__main__":
    main()
