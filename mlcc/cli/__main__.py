"""`python -m mlcc.cli`."""

import os
import sys

try:
    from mlcc.cli import main
except KeyboardInterrupt:
    print("mlcc: interrupted", file=sys.stderr, flush=True)
    os._exit(130)

main()
