"""Coefficients of the elementary functions: minimax polynomials, and constants in several parts."""

from __future__ import annotations

ROUND = 12582912.0  # 1.5·2^23: adding it rounds |x| < 2^22 to an integer, to nearest even
LOG2E = float.fromhex("0x1.715476p+0")
LN2_TOP, LN2_MIDDLE, LN2_LOW = (float.fromhex(h) for h in ("0x1.62e4p-1", "0x1.7f7d1cp-20", "0x1.ef357ap-45"))
LN2_HIGH = float.fromhex("0x1.62e43p-1")
PI_2, PI_2_LOW = float.fromhex("0x1.921fb6p+0"), float.fromhex("-0x1.777a5cp-25")
TWO_THIRDS, TWO_THIRDS_LOW = float.fromhex("0x1.555556p-1"), float.fromhex("-0x1.555556p-26")
TWO_OVER_PI = (0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB)
INF = float("inf")


def _hex(*coefficients: str) -> tuple[float, ...]:
    return tuple(float.fromhex(c) for c in coefficients)


EXP = _hex("0x1p-1", "0x1.555556p-3", "0x1.5554ep-5", "0x1.110ffp-7", "0x1.6d56f2p-10", "0x1.a26eap-13")
LOG_ATANH = _hex("0x1.999998p-2", "0x1.2493acp-2", "0x1.c644a2p-3", "0x1.8fee66p-3")
TANH_SQUARE = 0.9375
TANH = _hex(  # tanh(x) / x − 1 in x² − TANH_SQUARE, for |x| < 1.25
    "-0x1.d1ffd2p-3",
    "-0x1.6a7bf4p-3",
    "0x1.a0751ap-5",
    "-0x1.e7d446p-7",
    "0x1.1e5582p-8",
    "-0x1.50d6acp-10",
    "0x1.902e14p-12",
    "-0x1.b2f80ep-14",
    "0x1.e15364p-16",
    "-0x1.48aac6p-16",
)
ERF_SQUARE = 0.859375
ERF_LOW = _hex(  # erf(x) / x − 1 in x² − ERF_SQUARE, for |x| < 1.25
    "-0x1.0235fap-3",
    "-0x1.d8050ap-3",
    "0x1.fd2758p-5",
    "-0x1.c8bc0ap-7",
    "0x1.55f1b4p-9",
    "-0x1.b3bb0ep-12",
    "0x1.e98fd6p-15",
    "-0x1.f95b72p-18",
)
ERF_CENTRE = float.fromhex("0x1.27ff42p+1")  # erf is very nearly a binary32 number there (Gal's choice)
ERF_HIGH = _hex(  # erf(x) in |x| − ERF_CENTRE, up to 3.90625
    "0x1.ff7334p-1",
    "0x1.5fff68p-8",
    "-0x1.96fb8cp-7",
    "0x1.1c5122p-6",
    "-0x1.04f104p-6",
    "0x1.38c134p-7",
    "-0x1.97452cp-9",
    "-0x1.0e4fbep-12",
    "0x1.ad0246p-11",
    "-0x1.5d05aep-12",
    "-0x1.4ce590p-20",
    "0x1.418ee8p-15",
    "-0x1.166fa2p-17",
)
SIN = _hex("-0x1.555556p-3", "0x1.111166p-7", "-0x1.a04a8p-13", "0x1.7869fep-19")
COS = _hex("0x1.555556p-5", "-0x1.6c1754p-10", "0x1.a067fcp-16", "-0x1.33c3b8p-22")
ATAN = _hex("-0x1.555554p-2", "0x1.9998b2p-3", "-0x1.247588p-3", "0x1.c39ec6p-4", "-0x1.5764bcp-4", "0x1.767da4p-5")
ASIN = _hex("0x1.55554cp-3", "0x1.33389ap-4", "0x1.6cabap-5", "0x1.04a60cp-5", "0x1.d82adcp-7", "0x1.339b94p-5")
SINH = _hex("0x1.555556p-3", "0x1.1110ecp-7", "0x1.a01adp-13", "0x1.76ac86p-19")
ASINH = _hex("-0x1.555556p-3", "0x1.333376p-4", "-0x1.6dbf18p-5", "0x1.f212bap-6", "-0x1.6ca7b6p-6", "0x1.02b1dap-6", "-0x1.ef1d36p-8")
ATANH = _hex(
    "0x1.555556p-2", "0x1.999946p-3", "0x1.2498cep-3", "0x1.c6ca7ep-4", "0x1.72977ep-4", "0x1.5e67d2p-4", "0x1.50cc9ep-6", "0x1.46eb8ap-3"
)
