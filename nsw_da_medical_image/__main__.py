"""Run the umbrella command: `python -m nsw_da_medical_image`. Written by hand, since nbdev exports no such module."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
