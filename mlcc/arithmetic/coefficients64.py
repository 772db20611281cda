"""Coefficients of the binary64 elementary functions, and constants in several parts. Polynomials interpolate at Chebyshev points, computed
with 400 bits and rounded; where the powers of the argument are small enough, they are the Taylor series."""

from __future__ import annotations

from math import factorial

INF = float("inf")
ROUND = float.fromhex("0x1.8p52")  # 1.5 · 2^52: adding it rounds |x| < 2^51 to an integer, to nearest even


def _hex(*coefficients: str) -> tuple[float, ...]:
    return tuple(float.fromhex(c) for c in coefficients)


(LOG2E,) = _hex("0x1.71547652b82fep+0")
LN2_TOP, LN2_MIDDLE, LN2_LOW = _hex("0x1.62e42fefap-1", "0x1.cf79abc9e3b3ap-40", "-0x1.ff0342542fc33p-94")  # the first has 38 bits
LN2_HIGH, LN2_REST = _hex("0x1.62e42fefa39efp-1", "0x1.abc9e3b39803fp-56")
PI_2, PI_2_LOW = _hex("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54")
TWO_THIRDS, TWO_THIRDS_LOW = _hex("0x1.5555555555555p-1", "0x1.5555555555555p-55")
EXP = tuple(1 / factorial(k) for k in range(2, 16))  # (e^r − 1 − r) / r²
LOG_ATANH = tuple(2 / (2 * k + 3) for k in range(1, 14))  # of 2·atanh(s)/s − 2 − ⅔s², in s²
SIN = tuple((-1) ** k / factorial(2 * k + 1) for k in range(1, 11))
COS = tuple((-1) ** k / factorial(2 * k) for k in range(2, 12))
SINH = tuple(1 / factorial(2 * k + 1) for k in range(1, 12))
ATAN = _hex(  # (atan(u)/u − 1)/u² in u², for u ≤ 0.4143
    "-0x1.5555555555555p-2", "0x1.9999999999997p-3", "-0x1.24924924920a6p-3", "0x1.c71c71c6dd538p-4", "-0x1.745d17354bd3ep-4",
    "0x1.3b13aea671efp-4", "-0x1.1110ce9b3f808p-4", "0x1.e1d8e103c7a9p-5", "-0x1.aebccb05d29e8p-5", "0x1.829ac6ea2558cp-5",
    "-0x1.5033bdf344ecap-5", "0x1.f5c7f627c1866p-6", "-0x1.c7c2a937ca6fep-7",
)  # fmt: skip
ERF_SQUARE = 0.78125
ERF_SPLIT, ERF_CENTRE, ERF_END = 1.25, 2.5, 6.0
ERF_LOW = _hex(  # erf(x)/x − 1 in x² − ERF_SQUARE, up to ERF_SPLIT
    "-0x1.b916511794cc1p-4", "-0x1.ec7108519c6efp-3", "0x1.0c5b6fae2b99cp-4", "-0x1.e44cb83a4c821p-7", "0x1.6bfb277ee0b2fp-9",
    "-0x1.d15bef2f28c86p-12", "0x1.020671ab9ae8ap-14", "-0x1.f87a60826f58cp-18", "0x1.b890cc37fe8fdp-21", "-0x1.5b7e616011b19p-24",
    "0x1.f39cc2a59c1b1p-28", "-0x1.49dd9f54bec42p-31", "0x1.92ac848b388c9p-35", "-0x1.c8f9804c0aae7p-39", "0x1.e47a318e0a4f9p-43",
    "-0x1.e1e63563c095ap-47", "0x1.c36be3e5777f7p-51", "-0x1.8f964942e187bp-55", "0x1.4f3c6983d5faap-59", "-0x1.0b47bf909e139p-63",
    "0x1.960b71c304549p-68", "-0x1.285c7e61866a4p-72", "0x1.9b0f0a0db2318p-77",
)  # fmt: skip
ERF_HIGH = _hex(  # erfc(x)·e^x² in (x − ERF_CENTRE)/(x + ERF_CENTRE), up to ERF_END
    "0x1.afbb3f3b7343bp-3", "-0x1.7ca88dec217a6p-2", "0x1.01c11a735cd98p-2", "-0x1.0011543716c91p-3", "0x1.470ba1f67e9fep-5",
    "-0x1.05bb2fe5bf502p-8", "-0x1.5a5716ce54fe2p-9", "0x1.cb3b61b963aa2p-11", "0x1.def2ca6c5e956p-13", "-0x1.0e466939ebcaap-13",
    "-0x1.1ebe5ba2e615ep-15", "0x1.384ce40a52763p-16", "0x1.fb048faf84a3ep-18", "-0x1.3476804154b6fp-19", "-0x1.e7a8a0cac7aa5p-20",
    "0x1.40a0b4f88604dp-24", "0x1.a26689663992fp-22", "0x1.7fffa49d3c406p-24", "-0x1.fdd631bdab079p-25", "-0x1.58d5c9e19ba4ep-25",
    "0x1.d46c89f695a1dp-30", "0x1.67e3c82867dd6p-27",
)  # fmt: skip
TWO_OVER_PI = (  # 32 bits each
    0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB, 0xDEBBC561, 0xB7246E3A, 0x424DD2E0, 0x06492EEA,
    0x09D1921C, 0xFE1DEB1C, 0xB129A73E, 0xE88235F5, 0x2EBB4484, 0xE99C7026, 0xB45F7E41, 0x3991D639, 0x835339F4, 0x9C845F8B, 0xBDF9283B,
    0x1FF897FF, 0xDE05980F, 0xEF2F118B, 0x5A0A6D1F, 0x6D367ECF, 0x27CB09B7, 0x4F463F66, 0x9E5FEA2D, 0x7527BAC7, 0xEBE5F17B, 0x3D0739F7,
    0x8A5292EA, 0x6BFB5FB1, 0x1F8D5D08, 0x56033046, 0xFC7B6BAB, 0xF0CFBC20, 0x9AF4361D, 0xA9E39161, 0x5EE61B08, 0x6599855F, 0x14A06840,
)  # fmt: skip
