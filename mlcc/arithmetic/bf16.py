"""The bf16 profile's numbers: how a binary32 number becomes a bfloat16, and how long a block is. See docs/arithmetic.md."""

BLOCK = 32  # k of one block: an even chain, an odd chain, then accumulator + (even + odd)
SMALLEST = 2.0**-55  # smaller magnitudes become +0: then no sum of products is subnormal, and units that flush agree with those that do not
ROUNDS_TO_SMALLEST = SMALLEST * (1 - 2.0**-9)  # halfway down to the next bfloat16: ties go to even
